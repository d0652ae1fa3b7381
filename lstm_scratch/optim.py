"""Optimisation: AdamW, gradient clipping by norm, and the one-cycle learning rate."""

import math

import numpy as np

from lstm_scratch.params import Params


class AdamW:
    """Adam with decoupled weight decay, as `torch.optim.AdamW` computes it.

    With ``m`` and ``v`` running means of the gradient and of its square, both corrected for their
    start at zero:

        p -= learning_rate * weight_decay * p
        p -= learning_rate * m / (sqrt(v) + eps)

    Parameters
    ----------
    beta1, beta2 : float, default 0.9 and 0.999
        Decay of the running means of gradient and square.
    eps : float, default 1e-8
        Keeps the quotient finite.
    weight_decay : float, default 0.01
        Part of a parameter that is taken off, times the learning rate.

    Notes
    -----
    I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.
    """

    def __init__(
        self,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self.beta1, self.beta2, self.eps, self.weight_decay = beta1, beta2, eps, weight_decay
        self.steps = 0
        self.mean: Params = {}
        self.square: Params = {}

    def step(self, params: Params, grads: Params, learning_rate: float) -> None:
        """Change the parameters, in place, by one step against the gradient.

        Parameters
        ----------
        params : dict
            Parameters by name.
        grads : dict
            Their gradients, under the same names.
        learning_rate : float
            Size of the step.
        """
        self.steps += 1
        mean_scale = 1 / (1 - self.beta1**self.steps)
        square_scale = 1 / (1 - self.beta2**self.steps)
        for name, param in params.items():
            grad = grads[name]
            if name not in self.mean:
                self.mean[name], self.square[name] = np.zeros_like(param), np.zeros_like(param)
            mean, square = self.mean[name], self.square[name]
            room = np.empty_like(param)  # for all in between
            mean += np.multiply(1 - self.beta1, np.subtract(grad, mean, out=room), out=room)
            square *= self.beta2
            square += np.multiply(1 - self.beta2, np.multiply(grad, grad, out=room), out=room)
            param *= 1 - learning_rate * self.weight_decay
            np.sqrt(np.multiply(square, square_scale, out=room), out=room)
            room += self.eps
            np.divide(mean, room, out=room)
            room *= learning_rate * mean_scale
            param -= room


def clip_gradient_norm(grads: Params, max_norm: float) -> float:
    """Scale all gradients, in place, so that their joint Euclidean norm is at most `max_norm`.

    Parameters
    ----------
    grads : dict
        Gradients by name.
    max_norm : float
        The largest norm allowed.

    Returns
    -------
    float
        The norm before.

    Notes
    -----
    R. Pascanu, T. Mikolov and Y. Bengio, ICML 2013, algorithm 1.
    """
    norm = math.sqrt(sum(float(np.vdot(grad, grad).real) for grad in grads.values()))
    if norm > max_norm:
        for grad in grads.values():
            grad *= max_norm / norm
    return norm


def one_cycle(step: int, total_steps: int, peak: float, warm_up: float = 0.3) -> float:
    """Learning rate that rises to its peak and then falls to almost nothing, both by half a cosine.

    Parameters
    ----------
    step : int
        0 .. total_steps - 1.
    total_steps : int
        Steps of the whole training.
    peak : float
        The highest rate.
    warm_up : float, default 0.3
        Part of the training in which the rate rises, from peak / 25; it falls to peak / 250,000.

    Returns
    -------
    float
        The rate of this step, as `torch.optim.lr_scheduler.OneCycleLR` has it by default.

    Notes
    -----
    L. Smith and N. Topin, "Super-convergence", arXiv:1708.07120.
    """
    start, end = peak / 25, peak / 25 / 1e4
    turn, last = warm_up * total_steps - 1, total_steps - 1
    if step <= turn:
        return _half_cosine(start, peak, step / turn if turn > 0 else 1.0)
    return _half_cosine(peak, end, (step - turn) / (last - turn))


def _half_cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2
