"""A classifier that listens says after each step what it says of the recording up to there."""

import subprocess
import sys
from copy import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_scratch import LSTM, AudioClassifier, Stream
from lstm_scratch.errors import DataError, ModelFileError, NotFittedError, SettingError
from lstm_scratch.layers.pooling import EACH, POOLINGS
from lstm_scratch.sound import AudioError, FeatureError, FeatureSettings
from lstm_scratch.stream import RunningHead
from lstm_scratch.variants import Variant

RATE = 8000
LIVE = FeatureSettings(framing="whole-frames", top_db=None, n_mels=20, n_mfcc=7)
RNG = np.random.default_rng(0)
CLIPS = [RNG.normal(0, 0.1, n) * np.sin(np.arange(n) * w) for n in (900, 1203) for w in (0.3, 1.1, 2.0)] * 2
LABELS = ["low", "middle", "high"] * 4
poolings = pytest.mark.parametrize("pooling", POOLINGS)
engines = pytest.mark.parametrize("engine", ["numpy", "numba"])


def trained(features=LIVE, **settings):
    settings = {"hidden_size": 5, "epochs": 1, "bidirectional": False, "random_state": 0} | settings
    classifier = AudioClassifier(features=features, sample_rate=RATE, **settings)
    if classifier.pooling != EACH:
        return classifier.fit(CLIPS, LABELS)
    counts = [len(features.change(top_db=None)(clip, RATE)) for clip in CLIPS]
    return classifier.fit(CLIPS, [[label] * n for label, n in zip(LABELS, counts, strict=True)])


def probabilities(classifier, clips):
    """What a classifier says after the last step of each clip."""
    said = classifier.predict_proba(clips)
    return np.array([of_one[-1] for of_one in said]) if classifier.pooling == EACH else said


def computed_by(classifier, engine):
    other = copy(classifier)
    other.network_ = replace(classifier.network_, lstm=LSTM(7, 5, engine=engine))
    return other


@poolings
@engines
@pytest.mark.parametrize("num_layers", [1, 2])
def test_after_each_step_it_says_what_the_classifier_says_up_to_there(pooling, engine, num_layers):
    classifier = trained(pooling=pooling, engine=engine, num_layers=num_layers)
    stream, clip = Stream(classifier), CLIPS[1].astype(np.float32)
    said = np.concatenate([stream.push(chunk) for chunk in np.split(clip, [7, 300, 301, 777])])
    assert said.dtype == np.float32
    ends = range(200, len(clip) + 1, 80)  # of the frames
    wanted = probabilities(classifier, [clip[:end] for end in ends])
    np.testing.assert_allclose(said, wanted, rtol=0, atol=2e-6)
    assert np.ptp(wanted, axis=0).max() > 1e-3, "a head that never changes would pass"
    assert list(stream.classes) == ["high", "low", "middle"]


@engines
@pytest.mark.parametrize(
    "variant", [Variant(cell_clip=0.05), Variant(layer_norm=True), Variant(coupled=True, peepholes=True)]
)
def test_variants_are_heard_as_they_are(engine, variant):
    classifier, clip = trained(engine=engine, variant=variant, num_layers=2), CLIPS[1].astype(np.float32)
    ends = range(200, len(clip) + 1, 80)
    wanted = classifier.predict_proba([clip[:end] for end in ends])
    np.testing.assert_allclose(Stream(classifier).push(clip), wanted, rtol=0, atol=2e-6)


@engines
def test_stacked_frames_and_deltas_come_later_and_are_the_same(engine):
    classifier = trained(LIVE.change(stack=3, delta_order=1, delta_width=5, framing="centred"), engine=engine)
    stream, clip = Stream(classifier), CLIPS[0]
    said = [stream.push(chunk) for chunk in np.split(clip, 9)]
    assert len(said[0]) == 0
    rest = stream.finish()
    assert len(rest) > 0
    wanted = classifier.predict_proba([clip.astype(np.float32)])
    np.testing.assert_allclose(rest[-1:], wanted, rtol=0, atol=2e-6)


@poolings
@engines
def test_chunks_change_no_bit_and_a_stream_begins_anew(pooling, engine):
    stream, clip = Stream(trained(pooling=pooling, engine=engine)), CLIPS[1]
    once = np.concatenate([stream.push(clip), stream.finish()])
    again = np.concatenate([*(stream.push(chunk) for chunk in np.array_split(clip, 401)), stream.finish()])
    assert once.tobytes() == again.tobytes()
    stream.push(clip[::-1])
    stream.reset()
    assert stream.push(clip).tobytes() == once.tobytes()


# Chunks, and going on elsewhere

HEARD = {
    "whole frames": LIVE,
    "centred, stacked deltas": LIVE.change(framing="centred", stack=3, delta_order=2, delta_width=5),
    "everything that remembers": LIVE.change(
        framing="centred",
        pad_mode="edge",
        log="pcen",
        dither=1e-4,
        pre_emphasis=0.9,
        pre_emphasis_of="signal",
        delta_order=1,
        delta_kind="regression",
        sliding_normalisation="mean-variance",
        sliding_frames=8,
        stack=2,
    ),
}
heard = pytest.mark.parametrize("name", HEARD)
classifier_of = cache(lambda name, **settings: trained(HEARD[name], **settings))


@heard
@poolings
@engines
@settings(deadline=None, derandomize=True, max_examples=8)
@given(
    n=st.integers(400, 1203),
    sizes=st.lists(st.one_of(st.integers(0, 2), st.integers(0, 600)), max_size=8),
    at=st.integers(0, 8),
)
def test_drawn_chunks_restored_in_between_say_what_the_classifier_says(name, pooling, engine, n, sizes, at):
    classifier = classifier_of(name, pooling=pooling, engine=engine, num_layers=2)
    clip = CLIPS[3][:n].astype(np.float32)
    whole, one, other = (Stream(classifier) for _ in range(3))
    once = np.concatenate([whole.push(clip), whole.finish()])
    chunks = np.split(clip, np.cumsum(sizes))
    said = [one.push(chunk) for chunk in chunks[:at]]
    state = one.state()
    one.push(CLIPS[0])  # which touches neither the state nor who restores it
    other.push(CLIPS[2])
    other.restore(state)
    said = np.concatenate([*said, *(other.push(chunk) for chunk in chunks[at:]), other.finish()])
    assert said.shape == once.shape
    assert said.tobytes() == once.tobytes()
    np.testing.assert_allclose(once[-1:], probabilities(classifier, [clip]), rtol=0, atol=2e-6)


@heard
def test_sample_by_sample_too(name):
    stream, clip = Stream(classifier_of(name)), CLIPS[4][:500].astype(np.float32)
    once = np.concatenate([stream.push(clip), stream.finish()])
    said = np.concatenate([*(stream.push(sample) for sample in clip[:, None]), stream.finish()])
    assert len(said) > 1
    assert said.tobytes() == once.tobytes()


RESTORED = """
import sys
import numpy as np
from lstm_scratch import AudioClassifier, Stream

model, state, sound, said = sys.argv[1:]
stream = Stream(AudioClassifier.load(model))
stream.restore(state)
np.save(said, np.concatenate([stream.push(np.load(sound)), stream.finish()]))
"""


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_saved_state_goes_on_in_another_process(tmp_path, pooling):
    classifier = classifier_of("everything that remembers", pooling=pooling)
    files = [tmp_path / name for name in ("model.safetensors", "state.safetensors", "sound.npy", "said.npy")]
    stream, (before, after) = Stream(classifier), np.split(CLIPS[5].astype(np.float32), [611])
    classifier.save(files[0])
    stream.push(before)
    stream.save(files[1])
    np.save(files[2], after)
    wanted = np.concatenate([stream.push(after), stream.finish()])
    subprocess.run([sys.executable, "-c", RESTORED, *map(str, files)], check=True)
    assert len(wanted) > 1
    assert np.load(files[3]).tobytes() == wanted.tobytes()


def test_the_same_sound_saves_the_same_bytes(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    stream = Stream(classifier_of("everything that remembers"))
    stream.push(CLIPS[1])
    stream.save(one)
    stream.reset()
    for chunk in np.split(CLIPS[1], [100, 101, 777]):
        stream.push(chunk)
    stream.save(other)
    assert one.read_bytes() == other.read_bytes()


def test_a_state_of_one_engine_goes_on_with_the_other():
    classifier = classifier_of("whole frames")
    numpy, numba = (Stream(computed_by(classifier, engine)) for engine in ("numpy", "numba"))
    numpy.push(CLIPS[1][:600])
    numba.restore(numpy.state())
    np.testing.assert_allclose(numba.push(CLIPS[1][600:]), numpy.push(CLIPS[1][600:]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("other", [{"random_state": 1}, {"pooling": "max"}, {"hidden_size": 6}])
def test_a_state_of_another_classifier_is_refused_and_the_stream_goes_on(other):
    stream, clip = Stream(classifier_of("whole frames")), CLIPS[0].astype(np.float32)
    stream.push(clip[:450])
    state = stream.state()
    wanted = stream.push(clip[450:])
    stream.restore(state)
    with pytest.raises(DataError, match=r"of another classifier's stream: .* differ; load that classifier"):
        stream.restore(Stream(trained(**other)).state())
    assert stream.push(clip[450:]).tobytes() == wanted.tobytes()


def test_a_state_of_another_variant_is_refused_even_if_its_parameters_are_equal():
    classifier = trained(engine="numpy")
    other = copy(classifier)
    lstm = LSTM(7, 5, engine="numpy", variant=Variant(cell_clip=0.5))
    other.network_ = replace(classifier.network_, lstm=lstm)
    with pytest.raises(DataError, match="its parameters, classes or pooling differ"):
        Stream(other).restore(Stream(classifier).state())


def test_a_state_of_other_classes_is_refused():
    classifier = trained()
    state = Stream(classifier).state()
    classifier.classes_ = classifier.classes_[::-1]
    with pytest.raises(DataError, match="its parameters, classes or pooling differ"):
        Stream(classifier).restore(state)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        ({"h": None}, DataError, r"damaged: 'h' is missing, not float32 \(1, 5\); restore what state"),
        ({"model": None}, DataError, r"no state of a Stream, .*: 'model' is missing, not uint8 \(32,\)"),
        ({"c": np.zeros((1, 4), np.float32)}, DataError, r"'c' is float32 \(1, 4\), not float32 \(1, 5\)"),
        ({"head": np.zeros(6, np.float32)}, DataError, r"'head' is float32 \(6,\), not float64 \(18,\)"),
        (
            {"features.signal": np.zeros(3)},
            FeatureError,
            r"after 450 samples 'signal' is float64 \(3,\), not",
        ),
    ],
)
def test_a_damaged_state_is_refused_and_the_stream_goes_on(damage, error, message):
    stream, clip = Stream(classifier_of("whole frames")), CLIPS[0].astype(np.float32)
    stream.push(clip[:450])
    state = stream.state()
    wanted = stream.push(clip[450:])
    stream.restore(state)
    damaged = {name: array for name, array in (state | damage).items() if array is not None}
    with pytest.raises(error, match=message) as raised:
        stream.restore(damaged)
    assert "\n" not in str(raised.value)
    assert stream.push(clip[450:]).tobytes() == wanted.tobytes()


def test_files_that_hold_no_state_are_refused(tmp_path):
    classifier, path = classifier_of("whole frames"), tmp_path / "x.safetensors"
    stream = Stream(classifier)
    with pytest.raises(
        ModelFileError, match=r"x\.safetensors: no such file; the save\(\) of a Stream makes one"
    ):
        stream.restore(path)
    classifier.save(path)
    with pytest.raises(
        ModelFileError, match="holds a AudioClassifier, not the state of a Stream; name a file"
    ):
        stream.restore(path)
    stream.save(path)
    with pytest.raises(ModelFileError, match="holds a Stream, not a AudioClassifier"):
        AudioClassifier.load(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match="not a whole safetensors file"):
        stream.restore(str(path))


# What silence, and sound that fades into it, leave behind

FADING = (np.sin(np.arange(8000) * 0.3) * 10.0 ** np.linspace(-30, -44, 8000)).astype(np.float32)


@heard
@engines
def test_sound_among_the_smallest_numbers_is_silence(name, engine):
    assert (np.abs(FADING[-2000:]) < np.finfo(np.float32).tiny).all()
    assert FADING[-2000:].any()
    stream = Stream(classifier_of(name, engine=engine))
    said = []
    for before in (FADING, np.zeros_like(FADING)):
        chunks = np.split(np.concatenate([before, CLIPS[1].astype(np.float32)]), [2000, 2001, 8500])
        said.append(np.concatenate([*(stream.push(chunk) for chunk in chunks), stream.finish()]))
    assert np.isfinite(said[0]).all()
    np.testing.assert_allclose(said[0], said[1], rtol=0, atol=2e-6)


@engines
def test_states_among_the_smallest_numbers_are_zero(engine):
    stream, clip = Stream(classifier_of("whole frames", engine=engine)), CLIPS[2].astype(np.float32)
    wanted = stream.push(clip)
    stream.reset()
    state = stream.state()
    for name in ("h", "c"):
        state[name][:] = np.float32([1e-40, -1e-42, 3e-45, 1e-38, -2e-39])
    stream.restore(state)
    np.testing.assert_allclose(stream.push(clip), wanted, rtol=0, atol=1e-6)


# The head

HEADS = [
    "mean",
    "max",
    "std",
    "last",
    "attention",
    "none",
    "mean+max+std",
    "std+attention+last",
    "max+mean+max",
]
F, K = 5, 3


def drawn_head(kind):
    """Parameters of a head, and outputs (T, F) of a stack."""
    rng = np.random.default_rng(7)
    n = len(kind.split("+"))
    params = {
        "linear.weight": rng.normal(0, 1, (K, n * F)).astype(np.float32),
        "linear.bias": rng.normal(0, 1, K).astype(np.float32),
    }
    if "attention" in kind:
        params["pooling.query"] = rng.normal(0, 3, F).astype(np.float32)
    return params, rng.uniform(-1, 1, (23, F)).astype(np.float32)


def directly(params, kind, y):
    """What a head says of a whole sequence, by its definition, in float64."""
    y = y.astype(np.float64)
    pooled = []
    for statistic in kind.split("+"):
        if statistic == "attention":
            scores = y @ params["pooling.query"].astype(np.float64)
            weights = np.exp(scores - scores.max())
            pooled.append(weights @ y / weights.sum())
        elif statistic == "std":
            pooled.append(np.sqrt((y**2).mean(axis=0) - y.mean(axis=0) ** 2 + 1e-5))
        else:
            pooled.append({"mean": y.mean(axis=0), "max": y.max(axis=0)}.get(statistic, y[-1]))
    logits = params["linear.weight"] @ np.concatenate(pooled) + params["linear.bias"]
    return np.exp(logits) / np.exp(logits).sum()


def plain_head(params, kind):
    return RunningHead(params, kind)


def compiled_head(params, kind):
    """The same of the kernels, called by themselves."""
    from lstm_scratch.kernels.head import KINDS, classify, pool

    head = RunningHead(params, kind)  # for its state's size
    numbers = np.array([KINDS.index(statistic) for statistic in kind.split("+")])
    pooled = np.empty(len(numbers) * F)
    out = np.empty(K, np.float32)

    def call(y):
        pool(numbers, y, head.state, head.query, pooled)
        classify(pooled, params["linear.bias"], params["linear.weight"].ravel(), out)
        return out.copy()

    call.state = head.state
    return call


head_engines = pytest.mark.parametrize(
    "make", [plain_head, pytest.param(compiled_head, marks=pytest.mark.compiled)]
)


@head_engines
@pytest.mark.parametrize("kind", HEADS)
def test_a_head_says_after_each_step_what_its_definition_says_of_the_steps_so_far(make, kind):
    params, y = drawn_head(kind)
    head = make(params, kind)
    for _ in range(2):
        said = np.array([head(of_step) for of_step in y])
        wanted = [directly(params, kind, y[: t + 1]) for t in range(len(y))]
        np.testing.assert_allclose(said, wanted, rtol=0, atol=1e-6)
        head.state[:] = 0  # as `reset` does


@pytest.mark.compiled
@pytest.mark.parametrize("kind", HEADS)
def test_steps_and_head_in_one_call_are_the_stack_and_then_the_head(kind):
    from lstm_scratch.kernels.head import steps_with_head

    params, _ = drawn_head(kind)
    lstm = LSTM(4, F, num_layers=2, engine="numpy")
    of_stack = lstm.init(np.random.default_rng(3))
    frames = np.random.default_rng(4).normal(0, 2, (19, 4)).astype(np.float32)
    (y, h, c), _ = lstm.forward(of_stack, frames)
    head = RunningHead(params, kind)
    run = steps_with_head(lstm.layers_of(of_stack), head.kinds, head.query, head.linear)
    states = [np.zeros((2, F), np.float32) for _ in range(2)]
    out = np.empty((19, K), np.float32)
    run(frames[:8], *states, head.state, out[:8])
    run(frames[8:], *states, head.state, out[8:])
    np.testing.assert_allclose(
        out, [directly(params, kind, y[: t + 1]) for t in range(19)], rtol=0, atol=2e-6
    )
    np.testing.assert_allclose(states[0], h, rtol=0, atol=1e-6)
    np.testing.assert_allclose(states[1], c, rtol=0, atol=1e-6)


@head_engines
def test_a_deviation_far_below_the_mean_is_as_exact_as_any(make):
    """By the mean of squares less the square of the mean, it would be lost in rounding."""
    params = {"linear.weight": np.zeros((K, F), np.float32), "linear.bias": np.zeros(K, np.float32)}
    params["linear.weight"][1, 2] = 1000
    head = make(params, "std")
    for t in range(30_000):
        said = head(np.full(F, 2.0**13 + (-1) ** t * 2.0**-9, np.float32))
    logit = 1000 * (2.0**-18 + 1e-5) ** 0.5
    assert said[1] / said[0] == pytest.approx(np.exp(logit), rel=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_long_sequences_are_pooled_as_exactly_as_short_ones(pooling):
    """Sums of a million steps, in float64: in float32 they would have stopped growing."""
    params = {"linear.weight": np.eye(2, 3, dtype=np.float32), "linear.bias": np.zeros(2, np.float32)}
    if pooling == "attention":
        params["pooling.query"] = np.zeros(3, np.float32)
    head = RunningHead(params, pooling)
    gathered = [2.0**24 * 0.5, 2.0**24 * 0.25, 0]
    head.state[:] = [2.0**24, *gathered] + ([2.0**24, 0] if pooling == "attention" else [])
    for _ in range(1000):
        probabilities = head(np.float32([1, 0, 0]))
    first = (2.0**23 + 1000) / (2.0**24 + 1000)
    second = 2.0**22 / (2.0**24 + 1000)
    assert probabilities[0] == pytest.approx(1 / (1 + np.exp(second - first)), abs=1e-9)


def test_scores_that_overflow_an_exponential_do_no_harm():
    classifier = trained(pooling="attention")
    query = np.full(5, 1e4, np.float32)
    classifier.params_ = {**classifier.params_, "pooling.query": query}
    clip = CLIPS[2].astype(np.float32)
    for engine in ("numpy", "numba"):
        said = Stream(computed_by(classifier, engine)).push(clip)
        assert np.isfinite(said).all()
        np.testing.assert_allclose(said[-1:], classifier.predict_proba([clip]), rtol=0, atol=1e-5)


def test_a_classifier_that_reads_backwards_is_refused():
    with pytest.raises(SettingError, match="would have to know the end; train one with bidirectional=False"):
        Stream(trained(bidirectional=True))


def test_features_that_need_the_whole_recording_are_refused():
    with pytest.raises(FeatureError, match="top_db=80 needs the whole recording"):
        Stream(trained(LIVE.change(top_db=80.0)))


def test_an_untrained_classifier_is_refused():
    with pytest.raises(NotFittedError, match="call fit first"):
        Stream(AudioClassifier(bidirectional=False))


def test_bad_samples_are_refused_and_the_stream_goes_on():
    stream, clip = Stream(trained()), CLIPS[0].astype(np.float32)
    wanted = stream.push(clip)
    stream.reset()
    before = stream.push(clip[:450])
    with pytest.raises(AudioError, match="NaN"):
        stream.push(np.float32([np.nan]))
    assert np.concatenate([before, stream.push(clip[450:])]).tobytes() == wanted.tobytes()
