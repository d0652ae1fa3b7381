"""A stream gives the same bits as the whole recording, whatever the chunks; and its state stays small."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import features.stream as stream_module
from features import (
    AudioError,
    FeatureError,
    FeatureSettings,
    FeatureStream,
    extraction,
    preset,
    read_audio,
    stream_file,
)
from features.framing import count_frames

RATE = 8000
SOUND = np.random.default_rng(0).uniform(-1, 1, 4001).astype(np.float32)
SOUND.flags.writeable = False

STREAMABLE = {
    "default": {},
    "whole frames": {"framing": "whole-frames"},
    "filled at the end": {"framing": "pad-end"},
    "edges repeated": {"pad_mode": "edge"},
    "odd n_fft": {"n_fft": 301},
    "n_fft of a large prime": {"n_fft": 466, "energy": "windowed"},
    "hop longer than the frame": {"hop_length": 350},
    "that, filled at the end": {"hop_length": 350, "framing": "pad-end"},
    "pcen": {"log": "pcen", "energy": "raw"},
    "slopes": {"delta_order": 1},
    "curvatures": {"delta_order": 2, "delta_width": 7},
    "regression": {"delta_order": 2, "delta_kind": "regression", "delta_width": 5},
    "sliding mean": {"sliding_normalisation": "mean", "sliding_frames": 6},
    "sliding variance": {"sliding_normalisation": "mean-variance", "sliding_frames": 11, "delta_order": 1},
    "stacked": {"stack": 3},
    "all of it": {"stack": 4, "delta_order": 2, "sliding_normalisation": "mean", "log": "pcen"},
    "dither": {"dither": 0.01, "dither_seed": 3},
    "pre-emphasis of the signal": {"pre_emphasis": 0.9, "pre_emphasis_of": "signal"},
    "scaled": {"sample_scale": 300.0, "pre_emphasis": 0.9, "remove_dc": True},
    "log-spectrogram": {"kind": "log-spectrogram", "n_fft": 256},
    "log-mel with energy": {"kind": "log-mel", "energy": "raw", "log": "ln"},
}
STREAMABLE = {name: FeatureSettings(**{"top_db": None} | changes) for name, changes in STREAMABLE.items()}
STREAMABLE |= {name: preset(name) for name in ("htk", "kaldi", "python_speech_features")}
streamable = pytest.mark.parametrize("features", STREAMABLE.values(), ids=STREAMABLE)


def whole(features, sound):
    """What the settings return for a recording; no frames, where it has none."""
    if count_frames(len(sound), features, RATE) == 0:
        return np.zeros((0, features.n_features(RATE)), sound.dtype)
    return features(sound, RATE)


def streamed(features, chunks, dtype=np.float32):
    stream = FeatureStream(features, RATE, dtype)
    return np.concatenate([*(stream.push(chunk) for chunk in chunks), stream.finish()])


@streamable
@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    n_samples=st.integers(1, 2500),
    sizes=st.lists(st.one_of(st.integers(0, 9), st.integers(60, 100), st.integers(0, 2500)), max_size=12),
)
def test_a_stream_gives_the_bits_of_the_whole_recording(features, n_samples, sizes):
    sound = SOUND[:n_samples]
    chunks = np.split(sound, np.cumsum(sizes))
    result, wanted = streamed(features, chunks), whole(features, sound)
    assert result.dtype == wanted.dtype
    assert result.shape == wanted.shape
    assert result.tobytes() == wanted.tobytes()


@streamable
def test_sample_by_sample_too(features):
    sound = SOUND[:500]
    assert streamed(features, sound[:, None]).tobytes() == whole(features, sound).tobytes()


@streamable
def test_in_float64_too(features):
    sound = SOUND.astype(np.float64)
    chunks = [*np.split(sound[:640], 8), sound[640:]]
    assert streamed(features, chunks, np.float64).tobytes() == whole(features, sound).tobytes()


# Settings of every stage that has to do with more than one frame or chunk, drawn together.
drawn_features = st.builds(
    lambda centred, lengths, normalised, **others: FeatureSettings(
        **centred, **lengths, **normalised, **others, top_db=None, n_mels=11, n_mfcc=5, allow_empty_bands=True
    ),
    centred=st.sampled_from(
        [
            {"framing": "centred", "pad_mode": "constant"},
            {"framing": "centred", "pad_mode": "edge"},
            {"framing": "whole-frames"},
            {"framing": "pad-end"},
        ]
    ),
    lengths=st.sampled_from(
        [
            {"frame_length": 200, "hop_length": 80},
            {"frame_length": 61, "hop_length": 97, "n_fft": 75},
            {"frame_length": 128, "hop_length": 32},
            {"frame_length": 90, "hop_length": 45, "n_fft": 94},  # of a prime that the kernels do not take
        ]
    ),
    normalised=st.builds(
        dict,
        sliding_normalisation=st.sampled_from(["none", "mean", "mean-variance"]),
        sliding_frames=st.integers(1, 9),
    ),
    kind=st.sampled_from(["mfcc", "log-mel", "log-spectrogram"]),
    dither=st.sampled_from([0.0, 0.001]),
    pre_emphasis=st.sampled_from([0.0, 0.97]),
    pre_emphasis_of=st.sampled_from(["frame", "signal"]),
    energy=st.sampled_from(["none", "raw", "windowed", "spectral"]),
    log=st.sampled_from(["db", "ln", "none", "pcen"]),
    delta_order=st.sampled_from([0, 1, 2]),
    delta_kind=st.sampled_from(["savitzky-golay", "regression"]),
    delta_width=st.sampled_from([3, 5, 9]),
    stack=st.integers(1, 4),
)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    features=drawn_features,
    n_samples=st.integers(1, 1900),
    sizes=st.lists(st.one_of(st.integers(0, 3), st.integers(0, 700)), max_size=9),
    dtype=st.sampled_from([np.float32, np.float64]),
    at=st.integers(0, 9),
)
def test_drawn_settings_in_drawn_chunks_and_restored_in_between(features, n_samples, sizes, dtype, at):
    sound = SOUND[:n_samples].astype(dtype)
    chunks = np.split(sound, np.cumsum(sizes))
    one, other = FeatureStream(features, RATE, dtype), FeatureStream(features, RATE, dtype)
    frames = [one.push(chunk) for chunk in chunks[:at]]
    state = one.state()
    one.push(SOUND[:333].astype(dtype))  # which touches neither the state nor who restores it
    other.push(SOUND[:444].astype(dtype))
    other.restore(state)
    frames += [other.push(chunk) for chunk in chunks[at:]]
    result, wanted = np.concatenate([*frames, other.finish()]), whole(features, sound)
    assert (result.dtype, result.shape) == (wanted.dtype, wanted.shape)
    assert result.tobytes() == wanted.tobytes()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    features=drawn_features, n_samples=st.integers(0, 1300), sizes=st.lists(st.integers(0, 300), max_size=7)
)
def test_a_state_depends_on_the_sound_alone_and_not_on_its_chunks(features, n_samples, sizes):
    one, other = FeatureStream(features, RATE), FeatureStream(features, RATE)
    one.push(SOUND[:n_samples])
    for chunk in np.split(SOUND[:n_samples], np.cumsum(sizes)):
        other.push(chunk)
    states = one.state(), other.state()
    assert states[0].keys() == states[1].keys()
    for name, array in states[0].items():
        assert (array.dtype, array.tobytes()) == (states[1][name].dtype, states[1][name].tobytes()), name


REMEMBERING = FeatureSettings(
    top_db=None,
    log="pcen",
    pad_mode="edge",
    dither=0.001,
    pre_emphasis=0.9,
    pre_emphasis_of="signal",
    delta_order=1,
    sliding_normalisation="mean",
    sliding_frames=7,
    stack=4,
)


@pytest.fixture
def remembering():
    """A stream in the middle of everything, what it still has to say, and its state."""
    stream = FeatureStream(REMEMBERING, RATE)
    stream.push(SOUND[:1234])
    state = stream.state()
    rest = np.concatenate([stream.push(SOUND[1234:]), stream.finish()])
    stream.push(SOUND[:1234])
    return stream, rest, state


def test_a_state_is_plain_arrays_of_all_that_is_remembered(remembering):
    _, _, state = remembering
    assert {name: (str(array.dtype), array.shape) for name, array in state.items() if name != "settings"} == {
        "n_samples": ("int64", (1,)),
        "signal": ("float32", (134,)),  # 1234, and 100 before them, but for 15 hops of 80
        "last": ("float32", (1,)),
        "edge": ("float32", (1,)),
        "dither": ("uint64", (2,)),
        "pcen": ("float64", (40,)),
        "deltas": ("float32", (9, 13)),  # 15 frames, the first 6 of them no longer needed
        "sliding": ("float64", (4, 2, 26)),  # 11 frames are out
        "sliding_before": ("float64", (8, 2, 26)),
        "stacking": ("float32", (3, 26)),
    }


RESTORED = """
import sys
import numpy as np
from features import FeatureStream, settings_from_dict

with np.load(sys.argv[1]) as file:
    arrays = dict(file)
import json
told = json.loads(bytes(arrays["settings"]))
rate, dtype = told.pop("sample_rate"), told.pop("dtype")
stream = FeatureStream(settings_from_dict(told), rate, dtype)
stream.restore({name: array for name, array in arrays.items() if name != "sound"})
np.save(sys.argv[2], np.concatenate([stream.push(arrays["sound"]), stream.finish()]))
"""


def test_a_state_goes_on_in_another_process(remembering, tmp_path):
    _, rest, state = remembering
    kept, said = tmp_path / "state.npz", tmp_path / "said.npy"
    np.savez(kept, sound=SOUND[1234:], **state)
    subprocess.run([sys.executable, "-c", RESTORED, str(kept), str(said)], check=True)
    assert np.load(said).tobytes() == rest.tobytes()


DAMAGE = {
    "missing": (lambda state: state.pop("pcen"), r"'pcen' is nothing, not float64 \(40,\)"),
    "too much": (lambda state: state.update(more=np.zeros(2)), r"'more' is float64 \(2,\), not nothing"),
    "cut short": (
        lambda state: state.update(deltas=state["deltas"][1:]),
        r"after 1234 samples 'deltas' is float32 \(8, 13\), not float32 \(9, 13\); take it anew",
    ),
    "another dtype": (
        lambda state: state.update(last=state["last"].astype(np.float64)),
        r"'last' is float64 \(1,\), not float32 \(1,\)",
    ),
    "another count": (lambda state: state.update(n_samples=state["n_samples"] + 1), "after 1235 .*'signal'"),
    "a count below 0": (lambda state: state.update(n_samples=-state["n_samples"]), "after -1234 samples"),
    "no count": (lambda state: state.update(n_samples=np.array([np.inf])), "no state of a FeatureStream"),
    "no settings": (
        lambda state: state.pop("settings"),
        r"no state of a FeatureStream \(KeyError\('settings'",
    ),
    "settings cut": (
        lambda state: state.update(settings=state["settings"][:-1]),
        r"no state of a FeatureStream .*; restore what its state\(\) returned",
    ),
    "no arrays": (lambda state: state.update(signal="loud"), "no state of a FeatureStream"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_state_is_refused_and_the_stream_goes_on(remembering, damage, message):
    stream, rest, state = remembering
    damage(state)
    with pytest.raises(FeatureError, match=message) as error:
        stream.restore(state)
    assert "\n" not in str(error.value)
    assert np.concatenate([stream.push(SOUND[1234:]), stream.finish()]).tobytes() == rest.tobytes()


@pytest.mark.parametrize(
    ("changes", "rate", "dtype", "message"),
    [
        (
            {"stack": 2},
            RATE,
            np.float32,
            "of a stream with stack=4, and this one has stack=2; restore it into",
        ),
        ({"dither_seed": 5}, RATE, np.float32, "with dither_seed=0, and this one has dither_seed=5"),
        ({}, 16_000, np.float32, "with sample_rate=8000, and this one has sample_rate=16000"),
        ({}, RATE, np.float64, "with dtype='float32', and this one has dtype='float64'"),
    ],
)
def test_a_state_of_other_settings_is_refused(remembering, changes, rate, dtype, message):
    _, _, state = remembering
    with pytest.raises(FeatureError, match=message):
        FeatureStream(REMEMBERING.change(**changes), rate, dtype).restore(state)


def test_settings_that_are_equal_numbers_of_other_types_are_equal(remembering):
    _, rest, state = remembering
    stream = FeatureStream(REMEMBERING.change(stack=np.int64(4), sample_scale=1, frame_ms=25), RATE)
    assert json.loads(bytes(stream.state()["settings"]))["stack"] == 4
    stream.restore(state)
    assert np.concatenate([stream.push(SOUND[1234:]), stream.finish()]).tobytes() == rest.tobytes()


def test_a_stream_goes_back_as_often_as_one_likes(remembering):
    stream, rest, state = remembering
    for _ in range(2):
        stream.restore(state)
        assert np.concatenate([stream.push(SOUND[1234:]), stream.finish()]).tobytes() == rest.tobytes()


@streamable
def test_a_stream_begins_anew_after_its_end(features):
    stream = FeatureStream(features, RATE)
    stream.push(SOUND[::-1])
    stream.finish()
    assert np.concatenate([stream.push(SOUND), stream.finish()]).tobytes() == whole(features, SOUND).tobytes()
    stream.push(SOUND[::-1])
    stream.reset()
    assert np.concatenate([stream.push(SOUND), stream.finish()]).tobytes() == whole(features, SOUND).tobytes()


def test_the_end_of_nothing_is_nothing():
    stream = FeatureStream(STREAMABLE["all of it"], RATE)
    assert stream.push(np.zeros(0, np.float32)).shape == (0, stream.n_features)
    assert stream.finish().shape == (0, stream.n_features)


def test_a_frame_comes_as_soon_as_its_samples_are_there():
    stream = FeatureStream(STREAMABLE["whole frames"], RATE)  # frames of 200 samples, every 80
    counts = [len(stream.push(SOUND[n : n + 1])) for n in range(400)]
    assert np.flatnonzero(counts).tolist() == [199, 279, 359]
    assert sum(counts) == 3


@pytest.mark.parametrize(
    ("name", "delay"),
    [("whole frames", 0), ("slopes", 4), ("curvatures", 3), ("regression", 4), ("sliding mean", 0)],
)
def test_deltas_delay_frames_by_what_they_look_ahead(name, delay):
    stream = FeatureStream(STREAMABLE[name].change(framing="whole-frames"), RATE)
    assert stream.delay == delay
    n_frames = sum(len(stream.push(chunk)) for chunk in np.split(SOUND[:3960], 99))
    assert n_frames == 48 - delay
    assert len(stream.finish()) == delay


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"top_db=80 needs the whole recording, which a stream has not; pass top_db=None"),
        (
            {"top_db": None, "clip_normalisation": "mean-variance"},
            "clip_normalisation='mean-variance' needs .*; use sliding_normalisation='mean-variance'",
        ),
        (
            {"top_db": None, "pad_mode": "reflect"},
            "pad_mode='reflect' .*; use pad_mode='constant', or framing=",
        ),
        ({"top_db": None, "framing": "mirrored"}, "framing='mirrored' .*; use framing='whole-frames'"),
    ],
)
def test_what_needs_the_whole_recording_is_refused_with_its_counterpart(changes, message):
    with pytest.raises(FeatureError, match=message):
        FeatureStream(FeatureSettings(**changes), RATE)


def test_other_numbers_than_floats_are_refused():
    with pytest.raises(FeatureError, match="float32 or float64, not int16"):
        FeatureStream(STREAMABLE["default"], RATE, np.int16)


@pytest.mark.parametrize("name", ["whole frames", "stacked"])
@pytest.mark.parametrize(
    "bad", [np.float32([0.1, np.nan]), np.float32([np.inf]), np.zeros((2, 2)), np.int16([1])]
)
def test_bad_samples_are_refused_and_the_stream_goes_on(name, bad):
    stream = FeatureStream(STREAMABLE[name], RATE)
    before = stream.push(SOUND[:1234])
    with pytest.raises(AudioError):
        stream.push(bad)
    after = stream.push(SOUND[1234:])
    together = np.concatenate([before, after, stream.finish()])
    assert together.tobytes() == whole(STREAMABLE[name], SOUND).tobytes()


def test_samples_of_another_scale_are_noticed():
    with pytest.warns(UserWarning, match="a sample of 200, but full scale is 1"):
        FeatureStream(STREAMABLE["default"], RATE).push(np.full(90, 200, np.float32))
    with pytest.raises(AudioError, match="the settings multiply"):
        FeatureStream(STREAMABLE["kaldi"], RATE).push(np.full(90, 200, np.float32))


@pytest.mark.parametrize("features", [STREAMABLE["kaldi"], STREAMABLE["n_fft of a large prime"]])
def test_a_push_may_be_longer_than_a_block(monkeypatch, features):
    monkeypatch.setattr(stream_module, "BLOCK", 5)
    assert streamed(features, [SOUND]).tobytes() == whole(features, SOUND).tobytes()
    monkeypatch.setattr(extraction, "kernels_for", lambda plan: None)
    assert streamed(features, [SOUND]).tobytes() == whole(features, SOUND).tobytes()


def test_a_regression_does_not_wait_for_more_than_it_looks_ahead():
    stream = FeatureStream(STREAMABLE["regression"].change(framing="whole-frames", delta_order=1), RATE)
    stream.push(SOUND[:120])
    assert [len(stream.push(SOUND[n : n + 80])) for n in range(120, 600, 80)] == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("name", ["stacked", "slopes", "sliding variance"])
def test_a_long_push_is_let_go_of(name):
    stream = FeatureStream(STREAMABLE[name], RATE)
    stream.push(np.tile(SOUND, 100))
    holders = [stream, stream._lookahead, stream._sliding]
    arrays = [value for holder in holders for value in vars(holder).values() if isinstance(value, np.ndarray)]
    assert sum((array if array.base is None else array.base).nbytes for array in arrays) < 100_000


@streamable
def test_the_state_does_not_grow(features):
    def n_bytes(stream):
        holders = [stream, stream._lookahead, stream._sliding, stream._pcen]
        arrays = [
            value for holder in holders for value in vars(holder).values() if isinstance(value, np.ndarray)
        ]
        return sum((array if array.base is None else array.base).nbytes for array in arrays)

    stream = FeatureStream(features, RATE)
    sizes = []
    for _ in range(160):
        stream.push(SOUND[:777])
        sizes.append(n_bytes(stream))
    assert max(sizes[100:]) <= max(sizes[40:100])  # by 40, the sliding window is full


# What silence, and sound that fades into it, leave behind.

FADING = (np.sin(np.arange(24_000) * 0.3) * 10.0 ** np.linspace(-30, -44, 24_000)).astype(np.float32)


@streamable
def test_sound_among_the_smallest_numbers_is_as_good_as_silence(features):
    """Of which the powers are below all floors; and it does no harm to what comes after it."""
    assert 0 < np.count_nonzero(np.abs(FADING) < np.finfo(np.float32).tiny) < len(FADING)
    plain = features.change(log_floor=1e-10, energy_floor=0.0)  # HTK's and Kaldi's are of a larger scale
    both = [
        streamed(plain, np.split(np.concatenate([start, SOUND]), np.arange(800, 28_001, 800)))
        for start in (FADING, np.zeros_like(FADING))
    ]
    assert np.isfinite(both[0]).all()
    np.testing.assert_allclose(both[0], both[1], rtol=1e-6, atol=1e-6)


def test_returned_frames_are_not_written_to_later():
    stream = FeatureStream(STREAMABLE["default"], RATE)
    first = stream.push(SOUND[:2000])
    copy = first.copy()
    stream.push(SOUND[2000:])
    assert first.tobytes() == copy.tobytes()


@pytest.mark.parametrize(
    ("sample_rate", "block_s"), [(None, 0.05), (None, 60.0), (8000, 0.1), (22_050, 0.03)]
)
def test_a_file_in_blocks_gives_the_bits_of_the_whole_file(tmp_path, sample_rate, block_s):
    path = tmp_path / "sound.wav"
    soundfile.write(path, np.stack([SOUND, SOUND[::-1]], axis=1), 16_000, subtype="FLOAT")
    features = STREAMABLE["curvatures"]
    samples, rate = read_audio(path, sample_rate)
    blocks = list(stream_file(path, features, sample_rate, block_s))
    assert np.concatenate(blocks).tobytes() == features(samples, rate).tobytes()
