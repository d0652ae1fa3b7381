"""A trained classifier live: sound in, probabilities out, step by step.

Letters: n samples of a chunk, k steps, F outputs of the stack, K classes.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from lstm_scratch.audio import AudioClassifier
from lstm_scratch.engines import State
from lstm_scratch.errors import DataError, ModelFileError, SettingError
from lstm_scratch.files import load_model, save_model
from lstm_scratch.layers.linear import linear_forward
from lstm_scratch.layers.loss import softmax
from lstm_scratch.layers.pooling import VARIANCE_FLOOR
from lstm_scratch.params import Params, prefixed, under
from lstm_scratch.sound import FeatureStream
from lstm_scratch.stepping import Stepper
from lstm_scratch.variants import PLAIN
from simd.loading import load_kernels

IN_FILES = "Stream"  # what a file's description says that it holds


class Stream:
    """A classifier that listens: after each step of its LSTM it says what the sound so far is.

    After a whole recording it says what `AudioClassifier.predict_proba` says of it, but for rounding. Where
    nothing is pooled (``pooling="none"``), it says what each step is.

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
        self._model = _digest(classifier)
        self._mean, self._scale = classifier.mean_, classifier.scale_
        self._lstm, self._head = network.lstm, RunningHead(params, network.pooling)
        lstm = dict(under("lstm", params))
        self._fast = self._all_in_one(lstm)
        self._step = Stepper(network.lstm, lstm) if self._fast is None else None
        self.reset()

    def _all_in_one(self, lstm: Params) -> Callable[..., None] | None:
        """Set up steps and head as one compiled call, where that is who computes."""
        if self._lstm.engine != "numba" or self._lstm.variant != PLAIN:
            return None
        kernels = load_kernels("lstm_scratch.kernels.head", "the LSTM")
        if kernels is None:
            return None
        # Features are scaled by weights that are scaled in their stead.
        weight = lstm["weight_ih_l0"] / self._scale.astype(np.float64)
        bias = (lstm["bias_l0"] - weight @ self._mean).astype(np.float32)
        scaled = lstm | {"weight_ih_l0": weight.astype(np.float32), "bias_l0": bias}
        head, layers = self._head, self._lstm.layers_of(scaled)
        made: Callable[..., None] = kernels.steps_with_head(layers, head.kinds, head.query, head.linear)
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

    def state(self) -> dict[str, np.ndarray]:
        """Take a snapshot of all that the sound so far has left behind.

        Returns
        -------
        dict of str to ndarray
            Copies, by name: ``h (L, P)`` and ``c (L, H)`` of the LSTM; ``head (n,)``, what the pooling has
            gathered; ``model (32,)``, a digest of the classifier; and `FeatureStream.state`, each name with
            ``features.`` before it.
        """
        h, c = self._state
        arrays = {"h": h.copy(), "c": c.copy(), "head": self._head.state.copy(), "model": self._model.copy()}
        return arrays | prefixed("features", self._features.state())

    def restore(self, state: Mapping[str, np.ndarray] | str | os.PathLike[str]) -> None:
        """Go on where a snapshot was taken, bit for bit, be it in another process.

        Parameters
        ----------
        state : mapping of str to ndarray, or path
            What `state` returned, or the file that `save` made, of a stream of an equal classifier. It is
            left as it is.

        Raises
        ------
        DataError
            If it is of another classifier, or damaged. The stream then is as it was before.
        FeatureError
            If its features' part is.
        ModelFileError
            If the file is missing, damaged or of another kind.
        """
        arrays = dict(state) if isinstance(state, Mapping) else _saved_state(state)
        if not np.array_equal(arrays.get("model", self._model), self._model):
            raise DataError(
                "the state is of another classifier's stream: its parameters, classes or pooling differ; "
                "load that classifier"
            )
        own = {"model": self._model, "h": self._state[0], "c": self._state[1], "head": self._head.state}
        for name, array in own.items():
            found, wanted = (
                "missing" if a is None else f"{a.dtype} {a.shape}" for a in (arrays.get(name), array)
            )
            if found != wanted:
                raise DataError(
                    f"this is no state of a Stream, or it is damaged: {name!r} is {found}, not {wanted}; "
                    "restore what state() returned or save() saved"
                )
        self._features.restore(under("features", arrays))
        self._state = arrays["h"].copy(), arrays["c"].copy()
        self._head.state[:] = arrays["head"]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the state in one safetensors file, atomically, replacing one that is there.

        The same sound saves the same bytes. The classifier is not in it: `AudioClassifier.save` saves that.

        Parameters
        ----------
        path : path
            The file, for `restore`.
        """
        save_model(path, self.state(), {"estimator": IN_FILES})

    def _classified(self, frames: np.ndarray) -> np.ndarray:
        result = np.empty((len(frames), len(self.classes)), np.float32)
        if self._fast is not None:
            self._fast(frames, *self._state, self._head.state, result)
            return result
        assert self._step is not None
        for frame, probabilities in zip((frames - self._mean) / self._scale, result, strict=True):
            y, self._state = self._step(frame, self._state)
            probabilities[:] = self._head(y)
        return result


def _digest(classifier: AudioClassifier) -> np.ndarray:
    """Tell classifiers apart by all that decides what they say, but for who computes it."""
    network = classifier.network_
    told = network.pooling, network.lstm.variant, classifier.classes_.tolist()
    digest = hashlib.sha256(repr(told).encode())
    arrays = dict(classifier.params_) | {"mean": classifier.mean_, "scale": classifier.scale_}
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape} ".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return np.array(bytearray(digest.digest()))


def _saved_state(path: str | os.PathLike[str]) -> Params:
    """Read a file of `Stream.save`."""
    if not Path(path).is_file():
        raise ModelFileError(f"{path}: no such file; the save() of a Stream makes one")
    arrays, description = load_model(path)
    if description.get("estimator") != IN_FILES:
        raise ModelFileError(
            f"{path}: holds a {description.get('estimator')}, not the state of a Stream; "
            "name a file that its save() made"
        )
    return arrays


class RunningHead:
    """Pooling so far, linear layer, softmax: of one sequence, after each of its steps.

    Parameters
    ----------
    params : dict
        Of the network: ``linear.weight (K, n F)``, ``linear.bias (K,)``, and ``pooling.query (F,)`` for
        attention.
    kind : str
        The pooling: n of "mean", "max", "std", "last" and "attention", joined by "+". Their vectors (F,)
        follow each other in that order. Or "none", which is the step's own output.

    Attributes
    ----------
    state : ndarray (n,), float64
        The number of steps, and behind it what each statistic has gathered. The mean: the outputs' sum (F,).
        The maximum, or the last: itself (F,). The standard deviation: the mean (F,), and the sum of squared
        deviations from it (F,). Attention: the weighted sum (F,), the sum of the weights, and the highest
        score. At first zeros.

    Notes
    -----
    Deviations from what comes one by one: B. P. Welford, Technometrics 4 (1962) 419. Softmax-weighted sums:
    M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867.
    """

    def __init__(self, params: Params, kind: str) -> None:
        self.kinds, self.linear = kind.split("+"), under("linear", params)
        F = self.linear["weight"].shape[1] // len(self.kinds)
        self.query = under("pooling", params).get("query", np.zeros(F, np.float32))
        sizes = [{"std": 2 * F, "attention": F + 2}.get(kind, F) for kind in self.kinds]
        self.state = np.zeros(1 + sum(sizes))
        self._parts = np.split(self.state[1:], np.cumsum(sizes)[:-1])  # views

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
        """
        self.state[0] += 1
        pooled = [self._pooled(kind, y, part) for kind, part in zip(self.kinds, self._parts, strict=True)]
        return np.asarray(softmax(linear_forward(self.linear, np.concatenate(pooled)[None])[0])[0])

    def _pooled(self, kind: str, y: np.ndarray, part: np.ndarray) -> np.ndarray:
        """Take outputs into one statistic, and tell it."""
        F, steps = len(y), self.state[0]
        if kind == "mean":
            part += y
            return np.asarray(part / steps)
        if kind == "std":
            mean, squares = part[:F], part[F:]
            deviation = y - mean
            mean += deviation / steps
            squares += deviation * (y - mean)
            return np.asarray(np.sqrt(squares / steps + VARIANCE_FLOOR))
        if kind == "attention":
            total, highest = part[F:]
            score = y @ self.query
            top = score if steps == 1 else max(score, highest)
            old, new = 0.0 if steps == 1 else np.exp(highest - top), np.exp(score - top)
            part[:F] = part[:F] * old + y * new
            part[F:] = total * old + new, top
            return np.asarray(part[:F] / part[F])
        part[:] = np.maximum(part, y) if kind == "max" and steps > 1 else y
        return part
