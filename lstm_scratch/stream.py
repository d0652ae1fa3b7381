"""A trained classifier live: sound in, probabilities out, step by step.

Letters: n samples of a chunk, k steps, F outputs of the stack, K classes.
"""

import numpy as np

from lstm_scratch.audio import AudioClassifier
from lstm_scratch.errors import SettingError
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
        classifier.check_fitted()
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
        self._step = Stepper(network.lstm, lstm)
        self._head = _Head(params, network.pooling)
        self.reset()

    def reset(self) -> None:
        """Begin anew, with another recording."""
        self._features.reset()
        self._head.reset()
        self._state: tuple[np.ndarray, np.ndarray] | None = None

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
        for frame, probabilities in zip(frames, result, strict=True):
            y, self._state = self._step(frame, self._state)
            self._head(y, probabilities)
        return result


class _Head:
    """Pooling so far, linear layer, softmax: of one sequence, after each of its steps."""

    def __init__(self, params: Params, kind: str) -> None:
        self.kind, self.linear = kind, under("linear", params)
        self.weight, self.bias = (np.ascontiguousarray(self.linear[name]) for name in ("weight", "bias"))
        query = under("pooling", params).get("query", np.zeros(self.weight.shape[1], np.float32))
        self.query = np.ascontiguousarray(query)
        self.kernels = load_kernels("lstm_scratch.kernels.head", "the LSTM")
        self.reset()

    def reset(self) -> None:
        self.pooled = np.zeros(self.weight.shape[1], np.float32)
        self.totals = np.zeros(2)  # steps, or the sum of their weights; and the highest score

    def __call__(self, y: np.ndarray, out: np.ndarray) -> None:
        if self.kernels is not None:
            kind = self.kernels.KINDS.index(self.kind)
            given = (self.query, self.weight, self.bias)
            self.kernels.head(kind, y, self.pooled, self.totals, *given, out)
            return
        first = self.totals[0] == 0
        if self.kind == "mean":
            self.pooled, self.totals[0] = self.pooled + y, self.totals[0] + 1
        elif self.kind == "attention":
            score = y @ self.query
            top = score if first else max(score, self.totals[1])
            old, new = 0.0 if first else np.exp(self.totals[1] - top), np.exp(score - top)
            self.totals[:] = self.totals[0] * old + new, top
            self.pooled = (self.pooled * old + y * new).astype(np.float32)
        else:
            self.pooled = y if first or self.kind == "last" else np.maximum(self.pooled, y)
            self.totals[0] = 1
        logits = self.weight @ (self.pooled / self.totals[0]) + self.bias
        exponentials = np.exp(logits - logits.max())
        out[:] = exponentials / exponentials.sum()
