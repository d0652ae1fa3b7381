"""Figures of merit, from true and predicted classes. Letter: K classes."""

import numpy as np


def confusion_matrix(true: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Count each pair of true and predicted class.

    Parameters
    ----------
    true, predicted : ndarray (N,), int
        Class numbers, 0 .. K - 1.
    n_classes : int
        K.

    Returns
    -------
    ndarray (K, K), int64
        Rows are true classes, columns predicted ones.
    """
    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, (true, predicted), 1)
    return counts


def accuracy(confusion: np.ndarray) -> float:
    """Part of all clips that were labelled right.

    Parameters
    ----------
    confusion : ndarray (K, K), int
        From `confusion_matrix`, with at least one clip.

    Returns
    -------
    float
        0 .. 1.
    """
    return float(np.trace(confusion) / confusion.sum())


def unweighted_average_recall(confusion: np.ndarray) -> float:
    """Mean, over the classes that occur, of the part labelled right (UAR, balanced accuracy).

    Parameters
    ----------
    confusion : ndarray (K, K), int
        From `confusion_matrix`, with at least one clip.

    Returns
    -------
    float
        0 .. 1.
    """
    clips = confusion.sum(axis=1)
    present = clips > 0
    return float(np.mean(np.diag(confusion)[present] / clips[present]))


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Compute the area under the ROC curve: the chance that what is meant scores higher than what is not.

    Parameters
    ----------
    labels : ndarray (T,), bool
        Which ones are meant.
    scores : ndarray (T,)
        Any numbers; equal ones count half.

    Returns
    -------
    float or None
        None if there is only one of the two.
    """
    meant, other = scores[labels], np.sort(scores[~labels])
    if len(meant) == 0 or len(other) == 0:
        return None
    below = np.searchsorted(other, meant, "left") + np.searchsorted(other, meant, "right")
    return float(below.mean() / 2 / len(other))
