"""The log of epochs: a line each, at once, and none twice."""

import dataclasses
import json

import pytest

from lstm_scratch.epoch_log import EpochLog
from lstm_scratch.training import Epoch


def epoch(number, validation_loss=0.75):
    return Epoch(number, 5, 0.001 * number, 1 / 3, 0.5, validation_loss, 0.25)


def read(path):
    return [Epoch(**json.loads(line)) for line in path.read_text().splitlines()]


def test_every_epoch_is_in_the_file_as_soon_as_it_is_told(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    log = EpochLog(path, resumed=False)
    assert not path.exists()
    for number in (1, 2, 3):
        log(epoch(number))
        assert read(path) == [epoch(n) for n in range(1, number + 1)]
    assert json.loads(path.read_text().splitlines()[1])["training_loss"] == 1 / 3


def test_figures_that_are_missing_or_not_finite_are_null(tmp_path):
    path = tmp_path / "log"
    EpochLog(path, resumed=False)(epoch(1, None))
    EpochLog(path, resumed=False)(epoch(2, float("nan")))
    assert [told.validation_loss for told in read(path)] == [None, None]


def test_another_training_is_appended_even_where_it_is_the_same(tmp_path):
    path = tmp_path / "log"
    path.write_text('{"colour": "red"}\n')
    for _ in range(2):
        EpochLog(path, resumed=False)(epoch(1))
    assert path.read_text().splitlines()[0] == '{"colour": "red"}'
    assert [Epoch(**json.loads(line)) for line in path.read_text().splitlines()[1:]] == [epoch(1)] * 2


def test_a_resumed_training_is_whole_behind_an_earlier_one_that_was_the_same(tmp_path):
    path = tmp_path / "log"
    for n_epochs, resumed in ((5, False), (2, False), (5, True)):  # whole, interrupted, and gone on with
        log = EpochLog(path, resumed)
        for number in range(2 if resumed else 1, n_epochs + 1):
            log(epoch(number))
    assert read(path) == [epoch(number) for number in (1, 2, 3, 4, 5) * 2]


def interrupted_in_the_first_epoch(path):
    EpochLog(path, resumed=False)


def cut_in_the_first_epoch(path):
    EpochLog(path, resumed=False)(epoch(1))
    path.write_bytes(path.read_bytes()[:-30])


def repeating_the_first_epoch(path):
    EpochLog(path, resumed=False)(epoch(1))


@pytest.mark.parametrize("earlier", range(3))
@pytest.mark.parametrize(
    "begin", [interrupted_in_the_first_epoch, cut_in_the_first_epoch, repeating_the_first_epoch]
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_training_that_is_resumed_in_its_first_epoch_takes_no_line_of_another_for_its_own(
    tmp_path, earlier, begin, times
):
    """Its lines are those of the trainings before it, which had the same seed, and it writes its own."""
    path = tmp_path / "log"
    for _ in range(earlier):
        log = EpochLog(path, resumed=False)
        for number in (1, 2, 3):
            log(epoch(number))
    before = path.read_bytes() if earlier else b""
    begin(path)
    for _ in range(times):
        log = EpochLog(path, resumed=True)
        for number in (1, 2, 3):
            log(epoch(number))
    assert read(path) == [epoch(number) for number in (1, 2, 3) * (earlier + 1)]
    assert path.read_bytes().startswith(before)
    lines = path.read_text().splitlines()
    assert [line[: line.index("{")] for line in lines] == ["", "", "", *[" ", "", ""] * earlier]


def test_trainings_that_end_before_an_epoch_does_leave_one_space(tmp_path):
    path = tmp_path / "log"
    path.write_text("one\n")
    for _ in range(3):
        EpochLog(path, resumed=False)
    EpochLog(path, resumed=True)
    assert path.read_text() == "one\n "


@pytest.mark.parametrize("logged", range(5))
def test_a_resumed_training_adds_the_epochs_that_are_missing(tmp_path, logged):
    """It repeats those since its checkpoint, after the second epoch."""
    path = tmp_path / "log"
    before = EpochLog(path, resumed=False)
    for number in range(1, 3 + logged):
        before(epoch(number))
    after = EpochLog(path, resumed=True)
    for number in range(3, 8):
        after(epoch(number))
    assert read(path) == [epoch(number) for number in range(1, 8)]


@pytest.mark.parametrize("left", [1, 5, 9, 60])
def test_a_line_that_was_cut_short_is_written_again(tmp_path, left):
    path = tmp_path / "log"
    log = EpochLog(path, resumed=False)
    log(epoch(1))
    whole = len(path.read_bytes())
    log(epoch(2))
    path.write_bytes(path.read_bytes()[: whole + left])
    log = EpochLog(path, resumed=True)
    log(epoch(2))
    assert read(path) == [epoch(1), epoch(2)]


@pytest.mark.parametrize("resumed", [False, True])
def test_what_others_left_without_an_end_of_line_stays(tmp_path, resumed):
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo")
    EpochLog(path, resumed)(epoch(1))
    beginning = "" if resumed else " "
    assert path.read_text() == f"one\ntwo\n{beginning}{json.dumps(dataclasses.asdict(epoch(1)))}\n"


def test_a_full_disk_is_told_with_the_file(tmp_path):
    path = tmp_path / "log"
    log = EpochLog(path, resumed=False)
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot write the log \(No space left on device\)") as error:
        log(epoch(1))
    assert error.value.filename == str(path)
