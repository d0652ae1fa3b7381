"""Softmax and cross-entropy. Letters: K classes; the axes before them are rows, or steps and rows."""

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits to probabilities, ``exp(logits) / sum(exp(logits))`` over the last axis.

    Parameters
    ----------
    logits : ndarray (..., K)
        Any finite numbers.

    Returns
    -------
    ndarray (..., K)
        Numbers from 0 to 1 that sum to 1.
    """
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def cross_entropy_forward(
    logits: np.ndarray,
    targets: np.ndarray,
    label_smoothing: float = 0.0,
    class_weight: np.ndarray | None = None,
) -> tuple[float, np.ndarray]:
    """Mean cross-entropy between smoothed labels and the softmax of the logits.

    With r the probabilities that are true (one of a single class), ``q = (1 - s) r + s / K`` and class
    weights w: ``loss = - sum_bk q_bk w_k log p_bk / sum_bk r_bk w_k``, as `torch.nn.CrossEntropyLoss` has it
    for single classes.

    Parameters
    ----------
    logits : ndarray (..., K)
        Scores before the softmax.
    targets : ndarray (...), int, or (..., K), floating
        The true class of each, -1 where none counts; or the probability of each class.
    label_smoothing : float, default 0
        s, the part of the label spread over all classes.
    class_weight : ndarray (K,), optional
        w. By default 1 each.

    Returns
    -------
    loss : float
        The weighted mean.
    cache : ndarray (..., K)
        Gradient of the loss with respect to the logits.

    Notes
    -----
    Label smoothing: C. Szegedy et al., CVPR 2016, section 7.
    """
    K = logits.shape[-1]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    true = targets if targets.ndim == logits.ndim else np.arange(K) == targets[..., None]
    counts = true.any(axis=-1, keepdims=True)
    q = np.asarray(true * (1 - label_smoothing) + counts * (label_smoothing / K), logits.dtype)
    if class_weight is not None:
        q, true = q * class_weight, true * class_weight
    total = float(true.sum()) or 1.0
    loss = float(-(q * log_p).sum() / total)
    dlogits = (np.exp(log_p) * q.sum(axis=-1, keepdims=True) - q) / total
    return loss, np.asarray(dlogits, logits.dtype)


def cross_entropy_backward(cache: np.ndarray, dloss: float = 1.0) -> np.ndarray:
    """Carry the gradient back: ``dlogits = (p * sum_k q_k w_k - q * w) / sum_b w_b * dloss``.

    Parameters
    ----------
    cache : ndarray (..., K)
        What `cross_entropy_forward` returned.
    dloss : float, default 1
        Gradient of what is minimised with respect to the loss.

    Returns
    -------
    ndarray (..., K)
        Gradient with respect to the logits.
    """
    return np.asarray(cache * cache.dtype.type(dloss))
