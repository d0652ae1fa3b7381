"""Batches: padding, what is drawn for them, what is changed, and what is made ahead by another thread."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest
from scipy import stats

from lstm_scratch import SequenceClassifier
from lstm_scratch.batches import Batch, Distortion, Examples, Fetched, ahead, pad, pad_targets, shuffled
from lstm_scratch.training import _batches

LENGTHS = np.array([10, 4, 7])


def sequences(n=12, seed=0, F=3):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, F)).astype(np.float32) for length in rng.integers(3, 9, n)]


def test_what_is_padded_is_zero_and_of_no_class():
    three = [np.full((length, 2), length + 0.5, np.float32) for length in (2, 5, 1)]
    x, lengths = pad(three)
    assert (x.shape, x.dtype, lengths.tolist()) == ((5, 3, 2), np.float32, [2, 5, 1])
    targets = pad_targets([np.arange(len(of_one)) for of_one in three])
    for b, length in enumerate((2, 5, 1)):
        np.testing.assert_array_equal(x[:length, b], three[b])
        np.testing.assert_array_equal(x[length:, b], 0)
        np.testing.assert_array_equal(targets[:, b], [*range(length), *[-1] * (5 - length)])


# The order.


def test_everything_comes_once_in_an_epoch():
    batches = list(shuffled(23, 5, np.random.default_rng(0)))
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
    assert sorted(np.concatenate(batches)) == list(range(23))
    assert np.concatenate(batches).tolist() != list(range(23))


def test_weights_are_relative_frequencies():
    weights = np.array([1.0, 2.0, 0.0, 5.0, 12.0])
    rng = np.random.default_rng(0)
    drawn = np.concatenate([b for _ in range(4000) for b in shuffled(5, 2, rng, weights)])
    assert len(drawn) == 20_000  # an epoch is as long as without weights
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 20_000, weights / 20, atol=0.01)


def test_balanced_sampling_brings_every_class_equally_often(monkeypatch):
    """Classes of 5, 15 and 40 sequences, and within each every sequence alike."""
    seen, batch = [], Examples.batch

    def noted(self, indices, rng):
        seen.extend(self.targets[indices].tolist())
        sizes.append(len(indices))
        return batch(self, indices, rng)

    sizes = []
    monkeypatch.setattr(Examples, "batch", noted)
    labels = ["few"] * 5 + ["more"] * 15 + ["many"] * 40
    settings = {"hidden_size": 2, "epochs": 60, "batch_size": 16, "validation_fraction": 0}
    for sampling, expected in (("shuffled", [5 / 60, 40 / 60, 15 / 60]), ("balanced", [1 / 3] * 3)):
        seen.clear()
        SequenceClassifier(sampling=sampling, **settings).fit(sequences(60), labels)
        share = np.bincount(seen) / (60 * 60)
        np.testing.assert_allclose(share, expected, atol=1e-12 if sampling == "shuffled" else 0.03)
    assert sizes == [16, 16, 16, 12] * 120


# Distortion.


def ones(F, lengths=LENGTHS):
    x, lengths = pad([np.ones((length, F), np.float32) for length in lengths])
    return x, lengths


def is_stretch(hidden):
    """Whether at most one run of neighbours is hidden."""
    where = np.flatnonzero(hidden)
    return len(where) == 0 or len(where) == where[-1] - where[0] + 1


def test_a_time_mask_hides_a_stretch_of_valid_steps_of_every_width_and_place():
    rng, widths, places = np.random.default_rng(0), [set() for _ in LENGTHS], [set() for _ in LENGTHS]
    for _ in range(600):
        x, lengths = ones(5)
        Distortion(time_masks=1, time_mask=0.45).mask(x, lengths, rng)
        for b, length in enumerate(lengths):
            hidden = (x[:length, b] == 0).all(axis=1)
            np.testing.assert_array_equal(x[:length, b][~hidden], 1)
            np.testing.assert_array_equal(x[length:, b], 0)
            assert is_stretch(hidden)
            widths[b].add(int(hidden.sum()))
            places[b] |= set(np.flatnonzero(hidden).tolist())
    for b, length in enumerate(LENGTHS):
        assert widths[b] == set(range(int(0.45 * length) + 1))
        assert places[b] == set(range(length))


def test_a_feature_mask_hides_the_same_features_of_every_block_at_every_step():
    rng, widths, places = np.random.default_rng(0), set(), set()
    for _ in range(600):
        x, lengths = ones(3 * 5)
        Distortion(feature_masks=1, feature_mask=0.5, feature_blocks=3).mask(x, lengths, rng)
        rows = set()
        for b, length in enumerate(lengths):
            hidden = x[0, b] == 0
            np.testing.assert_array_equal(x[:length, b], np.broadcast_to(~hidden, (length, 15)))
            np.testing.assert_array_equal(x[length:, b], 0)
            np.testing.assert_array_equal(hidden[:5], hidden[5:10])
            np.testing.assert_array_equal(hidden[:5], hidden[10:])
            assert is_stretch(hidden[:5])
            widths.add(int(hidden[:5].sum()))
            places |= set(np.flatnonzero(hidden[:5]).tolist())
            rows.add(hidden.tobytes())
    assert widths == {0, 1, 2}
    assert places == set(range(5))
    assert len(rows) > 1, "every row has masks of its own"


def test_there_are_as_many_masks_as_asked_for_and_none_by_default():
    rng = np.random.default_rng(0)
    for of_time, of_features in ((0, 0), (1, 0), (3, 0), (0, 2)):
        most = [0, 0]
        for _ in range(300):
            x, lengths = ones(12, [20])
            masks = {"time_masks": of_time, "feature_masks": of_features}
            Distortion(**masks, time_mask=0.1, feature_mask=0.25).mask(x, lengths, rng)
            most[0] = max(most[0], int((x[:, 0] == 0).all(axis=1).sum()))
            most[1] = max(most[1], int((x[:, 0] == 0).all(axis=0).sum()))
        assert most == [2 * of_time, 3 * of_features]


def mixed(B, seed, mixup=0.4, K=4):
    """A batch whose row b is 1 in feature b alone, for b + 3 steps, of class b % K; mixed."""
    x, lengths = pad([np.tile(np.eye(B, dtype=np.float32)[b], (b + 3, 1)) for b in range(B)])
    batch = Batch(x, lengths, np.arange(B) % K)
    return Distortion(mixup=mixup).mix(batch, K, np.random.default_rng(seed))


def test_a_mixture_has_the_values_lengths_and_probabilities_of_two_rows():
    partners = set()
    for seed in range(30):
        x, lengths, targets = mixed(6, seed)
        assert x.dtype == targets.dtype == np.float32
        for b in range(6):
            others = np.flatnonzero(x[0, b] * (np.arange(6) != b))
            partner, weight = (int(others[0]), x[0, b, b]) if len(others) else (b, np.float32(1))
            assert len(others) <= 1
            assert weight >= 0.5
            partners.add(partner)
            expected = np.zeros(x[:, b].shape, np.float32)
            expected[: b + 3, b] += weight
            expected[: partner + 3, partner] += 1 - weight
            np.testing.assert_allclose(x[:, b], expected, atol=1e-7)
            assert lengths[b] == max(b, partner) + 3
            true = np.zeros(4)
            true[b % 4] += weight
            true[partner % 4] += 1 - weight
            np.testing.assert_allclose(targets[b], true, atol=1e-7)
    assert partners == set(range(6))


@pytest.mark.parametrize("mixup", [0.4, 1.0, 5.0])
def test_the_weights_of_mixtures_are_of_the_beta_distribution(mixup):
    weights = np.concatenate([np.diagonal(mixed(40, seed, mixup, 40)[0][0]) for seed in range(40)])
    weights = weights[weights < 1]  # no row that is its own partner
    folded = stats.beta(mixup, mixup)
    assert stats.kstest(weights, lambda w: 2 * folded.cdf(w) - 1).pvalue > 0.01


# Examples.


def of(rng, examples):
    return list(_batches(examples, 5, *rng, None))


def test_a_distortion_depends_on_seed_epoch_and_batch_alone():
    distortion = Distortion(time_masks=2, time_mask=0.5, feature_masks=1, feature_mask=0.7, mixup=0.3)
    examples = Examples(sequences(), np.arange(12) % 4, 4, distortion)

    def drawn(seed, epoch, done):
        return [(n, *map(np.ndarray.tobytes, b)) for n, b in _batches(examples, 5, seed, epoch, done, None)]

    first = drawn(3, 2, 0)
    assert [row[0] for row in first] == [0, 1, 2]
    assert drawn(3, 2, 0) == first
    for done in (1, 2, 3):
        assert drawn(3, 2, done) == first[done:]
    for other in (drawn(4, 2, 0), drawn(3, 1, 0)):
        assert not {row[1] for row in other} & {row[1] for row in first}


def test_batches_of_an_epoch_do_not_share_what_is_drawn():
    """The same sequence in every place: only what hides it differs."""
    same = [np.ones((20, 8), np.float32)] * 12
    examples = Examples(same, np.arange(12) % 4, 4, Distortion(time_masks=1, time_mask=0.9))
    drawn = {batch.x.tobytes() for _, batch in _batches(examples, 3, 0, 1, 0, None)}
    assert len(drawn) == 4


def test_a_batch_has_the_sequences_and_classes_that_are_wanted():
    given, targets = sequences(), np.arange(12) % 4
    before = [sequence.copy() for sequence in given]
    plain = Examples(given, targets, 4).batch(np.array([7, 2]), np.random.default_rng(0))
    for b, n in enumerate((7, 2)):
        np.testing.assert_array_equal(plain.x[: len(given[n]), b], given[n])
    assert plain.targets.tolist() == [3, 2]
    Examples(given, targets, 4, Distortion(time_masks=3, time_mask=0.9)).batch(
        np.arange(12), np.random.default_rng(0)
    )
    for sequence, old in zip(given, before, strict=True):
        np.testing.assert_array_equal(sequence, old)  # what is hidden is hidden in a copy


def test_a_sequence_that_is_drawn_anew_takes_the_place_of_the_old_one():
    given = sequences()

    def redraw(n, rng):
        return given[n][: 2 + n % 2] * 10 + rng.integers(1, 9), 11 - n

    examples = Examples(given, np.arange(12), 12, redraw=redraw)
    x, lengths, targets = examples.batch(np.array([4, 9, 4]), np.random.default_rng(5))
    added = np.random.default_rng(5).integers(1, 9, 3)
    assert (lengths.tolist(), targets.tolist()) == ([2, 3, 2], [7, 2, 7])
    for b, n in enumerate((4, 9, 4)):
        np.testing.assert_allclose(x[: lengths[b], b], given[n][: lengths[b]] * 10 + added[b], rtol=1e-6)
    assert examples.slow
    assert not Examples(given, np.arange(12), 12).slow


def test_labels_of_steps_are_laid_beside_their_steps():
    given = sequences()
    labels = [np.arange(len(sequence)) + 100 * n for n, sequence in enumerate(given)]
    x, lengths, targets = Examples(given, labels, 4).batch(np.array([3, 8]), np.random.default_rng(0))
    for b, n in enumerate((3, 8)):
        np.testing.assert_array_equal(x[: lengths[b], b], given[n])
        np.testing.assert_array_equal(targets[: lengths[b], b], labels[n])
        np.testing.assert_array_equal(targets[lengths[b] :, b], -1)


# What is fetched.


class Store:
    """Gives sequences, and counts how many of those that it gave are still there."""

    def __init__(self, given):
        self.given, self.there, self.most, self.fetched = given, 0, 0, []

    def __call__(self, n):
        self.fetched.append(n)
        sequence = self.given[n].copy()
        self.there += 1
        self.most = max(self.most, self.there)
        weakref.finalize(sequence, self.gone)
        return sequence

    def gone(self):
        self.there -= 1


def test_what_is_fetched_is_fetched_when_wanted_and_not_kept():
    given = sequences()
    store = Store(given)
    fetched = Fetched(store, [len(sequence) for sequence in given])
    assert (len(fetched), fetched.lengths) == (12, [len(sequence) for sequence in given])
    some = fetched.take(np.array([9, 4, 6])).map(lambda x: 2 * x).map(lambda x: x + 1).take(np.array([2, 0]))
    assert store.fetched == []
    np.testing.assert_array_equal(some[0], 2 * given[6] + 1)
    np.testing.assert_array_equal(some[1], 2 * given[9] + 1)
    assert (store.fetched, len(some), some.lengths) == ([6, 9], 2, [len(given[6]), len(given[9])])
    assert sum(1 for _ in fetched) == 12
    gc.collect()
    assert (store.there, store.most <= 2) == (0, True)


def test_a_classifier_learns_the_same_from_what_is_fetched_in_any_dtype():
    given = sequences(60, seed=2)
    labels = np.array([f"class {int(sequence[0, 0] > 0)}" for sequence in given])
    settings = {"hidden_size": 4, "epochs": 3, "batch_size": 8, "time_masks": 1, "mixup": 0.3}
    of_list = SequenceClassifier(**settings).fit(given, labels)
    store = Store([sequence.astype(np.float64) for sequence in given])
    fetched = Fetched(store, [len(sequence) for sequence in given])
    of_store = SequenceClassifier(**settings).fit(fetched, labels)
    for name, array in of_list.params_.items():
        assert of_store.params_[name].tobytes() == array.tobytes()
        assert of_store.params_[name].dtype == np.float32
    assert of_store.history_ == of_list.history_
    np.testing.assert_array_equal(of_store.predict_proba(fetched), of_list.predict_proba(given))
    gc.collect()
    assert store.there == 0
    assert store.most < 20, "but for a batch, or what is validated together, none is there"


# Another thread.


def batch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "lstm-scratch batches"]


def test_items_that_are_made_ahead_keep_their_order():
    made = []

    def items():
        for n in range(50):
            made.append(threading.current_thread().name)
            yield n

    assert list(ahead(items())) == list(range(50))
    assert set(made) == {"lstm-scratch batches"}
    assert not batch_threads()


def test_only_so_many_items_wait():
    made = []

    def items():
        for n in range(30):
            made.append(n)
            yield n

    waiting = ahead(items(), depth=2)
    for n in range(4):
        assert next(waiting) == n
        deadline = time.monotonic() + 5
        while len(made) < n + 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(made) == n + 4  # taken, two that wait, and the one that has no place yet
    waiting.close()
    assert not batch_threads()
    assert len(made) < 30


def test_an_error_is_raised_where_the_item_is_wanted():
    def items():
        yield 1
        yield 2
        raise KeyError("no third")

    got = ahead(items())
    assert (next(got), next(got)) == (1, 2)
    with pytest.raises(KeyError, match="no third"):
        next(got)
    assert not batch_threads()


def test_the_thread_ends_when_no_more_is_wanted():
    def items():
        while True:
            yield 0

    unending = ahead(items())
    assert next(unending) == 0
    assert len(batch_threads()) == 1
    unending.close()
    assert not batch_threads()
