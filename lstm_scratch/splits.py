"""Holding out a part of the data: every class in proportion, no group on both sides."""

from collections.abc import Hashable, Sequence

import numpy as np


def hold_out(
    labels: Sequence[Hashable],
    fraction: float,
    rng: np.random.Generator,
    groups: Sequence[Hashable] | None = None,
    minimum: int = 0,
) -> np.ndarray:
    """Choose a part of the clips that is to be held out.

    Groups are looked at in random order, and one is held out where that brings the counts (of each
    class, and of all clips) closer to what is wanted. Every class keeps a clip on the other side.

    Parameters
    ----------
    labels : sequence (N,)
        Class of each clip.
    fraction : float
        Part of each class that is wanted, 0 .. 1.
    rng : numpy.random.Generator
        Source of the order.
    groups : sequence (N,), optional
        Who or what was recorded in each clip: clips of one group stay together. By default each clip
        is a group of its own, so that the part is stratified by class.
    minimum : int, default 0
        Clips of a class that are wanted however small the fraction makes them.

    Returns
    -------
    ndarray (N,), bool
        True for a clip that is held out. If every group is so large that none comes closer, the one
        that overshoots least is held out; if none can be spared, all is False.
    """
    classes = np.unique(np.asarray(labels), return_inverse=True)[1]
    group_of = np.arange(len(classes))
    if groups is not None:
        numbers: dict[Hashable, int] = {}
        group_of = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    clips_of = np.split(np.argsort(group_of, kind="stable"), np.cumsum(np.bincount(group_of))[:-1])
    total = np.bincount(classes)
    wanted = np.maximum(fraction * total, minimum)
    held = np.zeros(len(total), np.int64)
    mask = np.zeros(len(classes), dtype=bool)

    def excess(held: np.ndarray) -> float:
        return float(np.abs(held - wanted).sum() + abs(held.sum() - wanted.sum()))

    order = rng.permutation(len(clips_of))
    if not wanted.any():
        return mask
    least, smallest = np.inf, None  # the group to hold out if none comes closer
    for may_overshoot in (False, True):  # first fill every class, then round so that the sum fits
        for group in order:
            clips = clips_of[group]
            after = held + np.bincount(classes[clips], minlength=len(total))
            empties_a_class = np.any((after > held) & (after >= total))
            if mask[clips[0]] or empties_a_class or (np.any(after > wanted) and not may_overshoot):
                continue
            change = excess(after) - excess(held)
            if change < -1e-9:  # less is rounding
                held = after
                mask[clips] = True
            elif change < least:
                least, smallest = change, clips
    if not mask.any() and smallest is not None:
        mask[smallest] = True
    return mask
