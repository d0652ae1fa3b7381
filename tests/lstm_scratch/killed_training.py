"""Trainings that are killed: run as a program, which forks one process for each life of a training.

What it prints is one JSON object: whether the model of every training that was killed and resumed is the same
file as that of one which was not, and so its log.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from lstm_scratch import AudioClassifier, SequenceClassifier
from lstm_scratch import classifier as classifier_module
from lstm_scratch.checkpoint import PREFIX
from lstm_scratch.epoch_log import EpochLog
from lstm_scratch.files import load_model
from lstm_scratch.sound import Augmentation, FeatureSettings

KINDS = ("sequences", "sounds", "steps")
CHECKPOINT, MODEL, LOG = "checkpoint.safetensors", "model.safetensors", "log.jsonl"


def make(kind, engine):
    """A classifier and what it is fitted to; each has half of what training can do."""
    rng = np.random.default_rng(1)
    size = {"hidden_size": 4, "batch_size": 8, "learning_rate": 0.02, "engine": engine}
    if kind == "sounds":
        sounds = [
            rng.normal(scale=0.1, size=n) * np.linspace(0.1, n % 2, n) for n in rng.integers(600, 900, 12)
        ]
        labels = ["rising" if len(sound) % 2 else "falling" for sound in sounds]
        classifier = AudioClassifier(
            **size,
            features=FeatureSettings(n_mels=12, n_mfcc=5, delta_order=1, stack=2),
            augmentation=Augmentation(speed=(0.9, 1.1), snr_db=(5, 20), gain_db=(-6, 6)),
            vtln=(0.9, 1.1),
            copies=2,
            sample_rate=8000,
            validation_fraction=0,
            sampling="balanced",
            feature_masks=1,
            pooling="attention+last",
            epochs=3,
        )
        return classifier, (sounds, labels)
    sequences = [rng.normal(size=(length, 3)) for length in rng.integers(3, 9, 32)]
    if kind == "steps":
        classifier = SequenceClassifier(
            **size, pooling="none", num_layers=2, class_weight="balanced", epochs=4, validation_fraction=0.3
        )
        return classifier, (sequences, [np.where(x[:, 0] > x[:, 1], "more", "less") for x in sequences])
    labels = rng.integers(0, 2, 32)  # nothing to learn: training stops early
    classifier = SequenceClassifier(
        **size,
        pooling="mean+std",
        ema_decay=0.9,
        mixup=0.3,
        time_masks=1,
        time_mask=0.5,
        epochs=12,
        patience=3,
    )
    return classifier, (sequences, labels, None, (sequences[:9], 1 - labels[:9]))


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def live(folder, kind, engine, resume, prepare=lambda: None, seconds=0.0):
    """One life of a training, in a process of its own. True, if it lived to save its model."""
    child = os.fork()
    if not child:
        prepare()
        classifier, data = make(kind, engine)
        log = EpochLog(folder / LOG, resume)
        classifier.fit(
            *data, checkpoint=folder / CHECKPOINT, checkpoint_seconds=seconds, resume=resume, on_epoch=log
        ).save(folder / MODEL)
        os._exit(0)
    return child


def survived(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def killed_at(update, when):
    """Prepare a process to die in its n-th update: before a checkpoint is written there, or after it."""

    def prepare():
        note, calls = classifier_module._Checkpoints.note, []

        def noted(self, state):
            calls.append(state)
            if len(calls) == update and when == "before":
                die()
            note(self, state)
            if len(calls) == update:
                die()

        classifier_module._Checkpoints.note = noted

    return prepare


def killed_at_an_end(epoch, when):
    """Prepare a process to die at the end of an epoch: before validation, or after it."""

    def prepare():
        from lstm_scratch import training

        end, calls = training._end_epoch, []

        def ended(*arguments):
            calls.append(None)
            if len(calls) == epoch and when == "before":
                die()
            end(*arguments)
            if len(calls) == epoch:
                die()

        training._end_epoch = ended

    return prepare


def killed_in_a_write(number, where):
    """Prepare a process to die while it writes its n-th checkpoint."""

    def prepare():
        calls = []

        def deadly(function, half):
            def called(*arguments):
                calls.append(None)
                if len(calls) == number:
                    if half:
                        function(arguments[0], arguments[1][: len(arguments[1]) // 2])
                    die()
                return function(*arguments)

            return called

        if where == "bytes":
            Path.write_bytes = deadly(Path.write_bytes, True)
        elif where == "fsync":
            os.fsync = deadly(os.fsync, False)
        else:
            os.replace = deadly(os.replace, False)

    return prepare


def updates_of(folder):
    """How many updates the checkpoint has seen; -1 without one."""
    path = folder / CHECKPOINT
    return load_model(path)[1][PREFIX]["updates"] if path.exists() else -1


def main():
    folder, kind, engine = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    os.fsync = lambda _: None  # it protects from a loss of power, and takes its time
    classifier, data = make(kind, engine)
    classifier.fit(*data)  # compiles, so that the children need not
    whole = folder / "whole"
    whole.mkdir()
    assert survived(live(whole, kind, engine, False))
    wanted = (whole / MODEL).read_bytes(), (whole / LOG).read_bytes()
    updates, epochs = updates_of(whole), len(wanted[1].splitlines())
    lives = 0
    result = {"epochs": epochs, "wrong": [], "updates": updates}

    def check(name, prepares, seconds=0.0, left=None):
        """Die as often as there are preparations, look for the checkpoint of an update, then live on."""
        nonlocal lives
        place = folder / name
        place.mkdir()
        for n, prepare in enumerate(prepares):
            lives += 1
            if survived(live(place, kind, engine, n > 0, prepare, seconds)):
                result["wrong"].append(f"{name}: it was not killed")
        if left is not None and updates_of(place) != left:
            result["wrong"].append(f"{name}: the checkpoint is of update {updates_of(place)}, not {left}")
        if not survived(live(place, kind, engine, True)):
            result["wrong"].append(f"{name}: it could not go on")
        elif wanted != ((place / MODEL).read_bytes(), (place / LOG).read_bytes()):
            result["wrong"].append(f"{name}: something else came of it")

    # A checkpoint is written in an update, before that changes anything: of the updates that were before.
    for update in sorted({1, 2, updates // epochs, updates // epochs + 1, updates}):
        check(f"update {update}", [killed_at(update, "after")], left=update - 1)
    check("no checkpoint", [killed_at(1, "before")], left=-1)
    for when in ("before", "after"):
        for epoch in (1, epochs):
            done = epoch * updates // epochs
            check(f"epoch {epoch} {when}", [killed_at_an_end(epoch, when)], left=done - 1)
    check("rarely", [killed_at(updates - 1, "after")], seconds=1e9, left=0)  # of the first update alone
    # Every life repeats the update of its checkpoint, and does two more.
    check("again and again", [killed_at(3, "after")] * ((updates - 1) // 2))
    for where in ("bytes", "fsync", "replace"):
        for number in (1, 3):
            check(f"write {number} {where}", [killed_in_a_write(number, where)], left=number - 2)
    rng = np.random.default_rng(2)
    place = folder / "any time"
    place.mkdir()
    for n in range(4):
        child = live(place, kind, engine, n > 0)
        time.sleep(rng.uniform(0, 0.06))
        os.kill(child, signal.SIGKILL)
        survived(child)
    if not survived(live(place, kind, engine, True)) or wanted != (
        (place / MODEL).read_bytes(),
        (place / LOG).read_bytes(),
    ):
        result["wrong"].append("killed at any time")
    print(json.dumps(result | {"lives": lives}))


if __name__ == "__main__":
    main()
