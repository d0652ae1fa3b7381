"""Softmax and cross-entropy. Letters: B batch rows, K classes."""

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

    With ``q = (1 - s) onehot + s / K`` and class weights w:
    ``loss = - sum_bk q_bk w_k log p_bk / sum_b w_{target b}``, as `torch.nn.CrossEntropyLoss` has it.

    Parameters
    ----------
    logits : ndarray (B, K)
        Scores before the softmax.
    targets : ndarray (B,), int
        The true class of each row.
    label_smoothing : float, default 0
        s, the part of the label spread over all classes.
    class_weight : ndarray (K,), optional
        w. By default 1 each.

    Returns
    -------
    loss : float
        The weighted mean.
    cache : ndarray (B, K)
        Gradient of the loss with respect to the logits.

    Notes
    -----
    Label smoothing: C. Szegedy et al., CVPR 2016, section 7.
    """
    B, K = logits.shape
    rows = np.arange(B)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    q = np.full((B, K), label_smoothing / K, logits.dtype)
    q[rows, targets] += 1 - label_smoothing
    total = B
    if class_weight is not None:
        q *= class_weight
        total = class_weight[targets].sum()
    loss = float(-(q * log_p).sum() / total)
    dlogits = (np.exp(log_p) * q.sum(axis=1, keepdims=True) - q) / total
    return loss, np.asarray(dlogits, logits.dtype)


def cross_entropy_backward(cache: np.ndarray, dloss: float = 1.0) -> np.ndarray:
    """Carry the gradient back: ``dlogits = (p * sum_k q_k w_k - q * w) / sum_b w_b * dloss``.

    Parameters
    ----------
    cache : ndarray (B, K)
        What `cross_entropy_forward` returned.
    dloss : float, default 1
        Gradient of what is minimised with respect to the loss.

    Returns
    -------
    ndarray (B, K)
        Gradient with respect to the logits.
    """
    return np.asarray(cache * cache.dtype.type(dloss))
