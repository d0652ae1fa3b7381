"""A classifier that listens says after each step what it says of the recording up to there."""

import numpy as np
import pytest

from lstm_scratch import AudioClassifier, Stream
from lstm_scratch.errors import NotFittedError, SettingError
from lstm_scratch.layers.pooling import POOLINGS
from lstm_scratch.sound import AudioError, FeatureError, FeatureSettings
from lstm_scratch.stream import RunningHead

RATE = 8000
LIVE = FeatureSettings(framing="whole-frames", top_db=None, n_mels=20, n_mfcc=7)
RNG = np.random.default_rng(0)
CLIPS = [RNG.normal(0, 0.1, n) * np.sin(np.arange(n) * w) for n in (900, 1203) for w in (0.3, 1.1, 2.0)] * 2
LABELS = ["low", "middle", "high"] * 4
poolings = pytest.mark.parametrize("pooling", POOLINGS)
engines = pytest.mark.parametrize("engine", ["numpy", "numba"])


def trained(features=LIVE, **settings):
    settings = {"hidden_size": 5, "epochs": 1, "bidirectional": False, "random_state": 0} | settings
    return AudioClassifier(features=features, sample_rate=RATE, **settings).fit(CLIPS, LABELS)


@poolings
@engines
@pytest.mark.parametrize("num_layers", [1, 2])
def test_after_each_step_it_says_what_the_classifier_says_up_to_there(pooling, engine, num_layers):
    classifier = trained(pooling=pooling, engine=engine, num_layers=num_layers)
    stream, clip = Stream(classifier), CLIPS[1].astype(np.float32)
    said = np.concatenate([stream.push(chunk) for chunk in np.split(clip, [7, 300, 301, 777])])
    assert said.dtype == np.float32
    ends = range(200, len(clip) + 1, 80)  # of the frames
    wanted = classifier.predict_proba([clip[:end] for end in ends])
    np.testing.assert_allclose(said, wanted, rtol=0, atol=2e-6)
    assert np.ptp(wanted, axis=0).max() > 1e-3, "a head that never changes would pass"
    assert list(stream.classes) == ["high", "low", "middle"]


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


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_long_sequences_are_pooled_as_exactly_as_short_ones(pooling):
    """Sums of a million steps, in float64: in float32 they would have stopped growing."""
    params = {"linear.weight": np.eye(2, 3, dtype=np.float32), "linear.bias": np.zeros(2, np.float32)}
    if pooling == "attention":
        params["pooling.query"] = np.zeros(3, np.float32)
    head = RunningHead(params, pooling)
    head.state[:] = 2.0**24 * 0.5, 2.0**24 * 0.25, 0, 2.0**24, 0
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
        classifier.engine = engine
        said = Stream(classifier).push(clip)
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
