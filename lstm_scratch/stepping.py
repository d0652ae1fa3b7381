"""One step at a time: a stack for live use, state in and state out.

Letters: I inputs, H hidden units, P outputs (H, or fewer by a projection), L layers.
"""

import numpy as np

from lstm_scratch.engines import State
from lstm_scratch.errors import SettingError
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import Params, freeze


class Stepper:
    """A stack that is given one sequence step by step. It keeps parameters, but no state.

    Parameters
    ----------
    lstm : LSTM
        The stack, in one direction, forwards.
    params : dict
        Its parameters, as they are now.

    Raises
    ------
    SettingError
        If the stack reads backwards, which nobody can do before the last step is there.
    ValueError
        If a parameter does not fit.

    Examples
    --------
    >>> lstm = LSTM(4, 2)
    >>> step = Stepper(lstm, lstm.init(np.random.default_rng(0)))
    >>> y, state = step(np.ones(4, np.float32))
    >>> y, state = step(np.ones(4, np.float32), state)
    """

    def __init__(self, lstm: LSTM, params: Params) -> None:
        if True in lstm.directions:
            raise SettingError(
                "a stack that reads backwards cannot go step by step; use one that reads forwards"
            )
        lstm.check_params(params)
        self.lstm, self.params = lstm, freeze(params)
        L, dtype = lstm.num_layers, params["bias_l0"].dtype
        self._zero = np.zeros((L, lstm.output_size), dtype), np.zeros((L, lstm.hidden_size), dtype)
        self._step = lstm.single_step(self.params)

    def __call__(self, x: np.ndarray, state: State | None = None) -> tuple[np.ndarray, State]:
        """Do one step.

        Parameters
        ----------
        x : ndarray (I,)
            Inputs of the step.
        state : tuple of ndarray, optional
            ``h (L, P)`` and ``c (L, H)`` after the step before. By default zero. They are left as they are.

        Returns
        -------
        y : ndarray (P,)
            Outputs of the last layer.
        state : tuple of ndarray
            ``h`` and ``c`` after the step.

        Raises
        ------
        ValueError
            If a shape does not fit.
        """
        h, c = self._zero if state is None else state
        if self._step is None:
            (y, h, c), _ = self.lstm.forward(self.params, np.asarray(x)[None], h, c, inference=True)
            return y[0], (h, c)
        try:
            h, c = self._step(x, h, c)
        except ValueError:
            raise ValueError(
                f"x, h and c have shapes {np.shape(x)}, {np.shape(h)} and {np.shape(c)}, "
                f"not {(self.lstm.input_size,)}, {self._zero[0].shape} and {self._zero[1].shape}"
            ) from None
        return h[-1].copy(), (h, c)
