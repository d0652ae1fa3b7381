"""A trained classifier live: sound in, probabilities out, step by step.

Letters: n samples of a chunk, k steps, F outputs of the stack, K classes.
"""

from collections.abc import Callable

import numpy as np

from lstm_scratch.audio import AudioClassifier
from lstm_scratch.engines import State
from lstm_scratch.errors import SettingError
from lstm_scratch.layers.linear import linear_forward
from lstm_scratch.layers.loss import softmax
from lstm_scratch.params import Params, under
from lstm_scratch.sound import FeatureStream
from lstm_scratch.stepping import Stepper
from simd.loading import load_kernels


class Stream:
    """A classifier that listens: after each step of its LSTM it says what the sound so far is.

    After a whole recording it says what `AudioClassifier.predict_proba` says of it, but for rounding.

    Parameters
    ----------
    classifier : AudioClassifier
        Fitted, in one direction, of features that need no whole recording.

    Attributes
    ----------
    classes : ndarray (K,)
        Labels, in the order of the probabilities.
    sample_rate : int
        Of the sound that it takes, in Hz.

    Raises
    ------
    SettingError
        If the classifier reads backwards too.
    FeatureError
        If its features need the whole recording; the message names what does not.
    """

    def __init__(self, classifier: AudioClassifier) -> None:
        classifier._check_fitted()
        if classifier.bidirectional:
            raise SettingError(
                "a classifier that reads backwards cannot listen: it would have to know the end; "
                "train one with bidirectional=False"
            )
        self.classes, self.sample_rate = classifier.classes_, classifier.sample_rate_
        self._features = FeatureStream(classifier.features, self.sample_rate)
        params, network = classifier.params_, classifier.network_
        # Features are scaled by weights that are scaled in their stead.
        lstm = dict(under("lstm", params))
        weight = lstm["weight_ih_l0"] / classifier.scale_.astype(np.float64)
        lstm["bias_l0"] = (lstm["bias_l0"] - weight @ classifier.mean_).astype(np.float32)
        lstm["weight_ih_l0"] = weight.astype(np.float32)
        self._lstm, self._head = network.lstm, RunningHead(params, network.pooling)
        self._fast = self._all_in_one(lstm)
        self._step = Stepper(network.lstm, lstm) if self._fast is None else None
        self.reset()

    def _all_in_one(self, lstm: Params) -> Callable[..., None] | None:
        """Set up steps and head as one compiled call, where that is who computes."""
        kernels = (
            load_kernels("lstm_scratch.kernels.head", "the LSTM") if self._lstm.engine == "numba" else None
        )
        if kernels is None:
            return None
        head, layers = self._head, self._lstm.layers_of(lstm)
        made: Callable[..., None] = kernels.steps_with_head(layers, head.kind, head.query, head.linear)
        return made

    def reset(self) -> None:
        """Begin anew, with another recording."""
        self._features.reset()
        self._head.reset()
        L, H = self._lstm.num_layers, self._lstm.hidden_size
        self._state: State = np.zeros((L, self._lstm.output_size), np.float32), np.zeros((L, H), np.float32)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take in a chunk of sound.

        Parameters
        ----------
        samples : array (n,), floating
            The next samples at `sample_rate`, full scale 1; there may be none.

        Returns
        -------
        ndarray (k, K), float32
            Probabilities after each step that is complete now.

        Raises
        ------
        AudioError
            If the samples are no mono sound. The stream then is as it was before.
        """
        return self._classified(self._features.push(samples))

    def finish(self) -> np.ndarray:
        """Take note that the recording is over, and begin anew.

        Returns
        -------
        ndarray (k, K), float32
            Probabilities after each step that was still to come.
        """
        rest = self._classified(self._features.finish())
        self.reset()
        return rest

    def _classified(self, frames: np.ndarray) -> np.ndarray:
        result = np.empty((len(frames), len(self.classes)), np.float32)
        if self._fast is not None:
            self._fast(frames, *self._state, self._head.state, result)
            return result
        assert self._step is not None
        for frame, probabilities in zip(frames, result, strict=True):
            y, self._state = self._step(frame, self._state)
            probabilities[:] = self._head(y)
        return result


class RunningHead:
    """Pooling so far, linear layer, softmax: of one sequence, after each of its steps.

    Parameters
    ----------
    params : dict
        Of the network.
    kind : {"mean", "max", "last", "attention"}
        The pooling.

    Attributes
    ----------
    state : ndarray (F + 2,), float64
        The sum, the maximum or the last of the outputs, or their weighted sum; the number of steps, or the
        sum of their weights; the highest score. At first zeros.
    """

    def __init__(self, params: Params, kind: str) -> None:
        self.kind, self.linear = kind, under("linear", params)
        F = self.linear["weight"].shape[1]
        self.query = under("pooling", params).get("query", np.zeros(F, np.float32))
        self.state = np.zeros(F + 2)

    def reset(self) -> None:
        """Begin anew, with another sequence."""
        self.state[:] = 0

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """Take in the outputs of a step.

        Parameters
        ----------
        y : ndarray (F,)
            The stack's.

        Returns
        -------
        ndarray (K,)
            Probabilities of the sequence up to here.

        Notes
        -----
        Softmax-weighted sums over what comes one by one: M. Milakov and N. Gimelshein, "Online normalizer
        calculation for softmax", arXiv:1805.02867.
        """
        pooled, (steps, highest) = self.state[:-2], self.state[-2:]
        if self.kind == "mean":
            pooled += y
            steps += 1
        elif self.kind == "attention":
            score = y @ self.query
            top = max(score, highest) if steps else score
            old, new = np.exp(highest - top) if steps else 0.0, np.exp(score - top)
            pooled[:] = pooled * old + y * new
            steps, highest = steps * old + new, top
        else:
            pooled[:] = np.maximum(pooled, y) if steps and self.kind == "max" else y
            steps = 1
        self.state[-2:] = steps, highest
        return np.asarray(softmax(linear_forward(self.linear, (pooled / steps)[None])[0])[0])
