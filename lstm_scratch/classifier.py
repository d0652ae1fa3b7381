"""SequenceClassifier: feature sequences in, labels out, by scikit-learn's protocol.

Letters: T time steps, F features per step, K classes.
"""

import dataclasses
import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from lstm_scratch.batches import pad
from lstm_scratch.checks import check_number, check_probability
from lstm_scratch.errors import DataError, ModelFileError, NotFittedError, SettingError
from lstm_scratch.estimator import Estimator
from lstm_scratch.files import load_model, save_model
from lstm_scratch.layers.loss import softmax
from lstm_scratch.layers.pooling import Pooling
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.network import Network
from lstm_scratch.params import Params, count, freeze, from_torch_names, to_torch_names
from lstm_scratch.progress import progress_bar
from lstm_scratch.splits import hold_out
from lstm_scratch.training import Epoch, Part, TrainingOptions, predict_logits, train
from lstm_scratch.version import __version__

ClassWeight = Literal["balanced"] | Mapping[Any, float] | None


@dataclass(kw_only=True, eq=False)
class SequenceClassifier(Estimator):
    """LSTM classifier of sequences of any length, each an array (T, F).

    Parameters
    ----------
    hidden_size : int, default 48
        Hidden units per layer and direction.
    num_layers : int, default 1
        LSTM layers.
    bidirectional : bool, default True
        Read each sequence backwards too.
    pooling : {"mean", "max", "last", "attention"}, default "mean"
        How the steps become one vector.
    dropout : float, default 0.3
        Probability of dropping a value between layers and after pooling, in training.
    forget_bias : float, default 0
        Bias of the forget gates before training; from 1 on, long sequences are learned sooner.
    epochs : int, optional
        Times through the training part. By default as many as make 1000 updates, at least 8.
    batch_size : int, default 32
        Sequences per update.
    learning_rate : float, default 0.004
        Of AdamW, at its peak.
    schedule : {"one-cycle", "constant"}, default "one-cycle"
        How the learning rate runs.
    weight_decay : float, default 0.01
        Of AdamW.
    max_gradient_norm : float, default 1
        Gradients are scaled down to this norm.
    label_smoothing : float, default 0.1
        Part of each label that is spread over all classes.
    class_weight : "balanced", dict of label to weight, or None, default None
        Weights in the loss; "balanced" gives every class the same sum.
    validation_fraction : float, default 0.1
        Part of the training data by which the best epoch is chosen. 0: the last epoch is kept.
    patience : int, optional
        Epochs without a better validation loss after which training stops. By default a quarter of
        the epochs, at least 5.
    engine : {"numba", "numpy"}, default "numba"
        Who computes the LSTM: the compiled kernels, or plain numpy.
    random_state : int, default 0
        Seed of everything that is drawn: the same seed gives the same bits.
    verbose : bool, default False
        Show progress on stderr.

    Attributes
    ----------
    classes_ : ndarray (K,)
        Labels, sorted.
    n_features_in_ : int
        F.
    network_ : Network
        Sizes of the network.
    params_ : FrozenParams
        Its parameters, by name.
    mean_, scale_ : ndarray (F,), float32
        Taken off, and divided by, before the network: mean and standard deviation of each feature
        over all steps of the training part.
    history_ : list of dict
        What each epoch brought.
    card_ : dict
        How it was trained: counts of clips per class and part, and what the caller adds. Saved with
        the model.
    """

    hidden_size: int = 48
    num_layers: int = 1
    bidirectional: bool = True
    pooling: Pooling = "mean"
    dropout: float = 0.3
    forget_bias: float = 0.0
    epochs: int | None = None
    batch_size: int = 32
    learning_rate: float = 4e-3
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    label_smoothing: float = 0.1
    class_weight: ClassWeight = None
    validation_fraction: float = 0.1
    patience: int | None = None
    engine: str = "numba"
    random_state: int = 0
    verbose: bool = False

    def fit(
        self,
        X: Sequence[Any],
        y: Sequence[Hashable],
        groups: Sequence[Hashable] | None = None,
        validation_data: tuple[Sequence[Any], Sequence[Hashable]] | None = None,
    ) -> Self:
        """Train on labelled sequences.

        Parameters
        ----------
        X : sequence of array (T, F)
            Training data, each of at least one step.
        y : sequence
            A label for each.
        groups : sequence, optional
            Who or what was recorded in each: the validation part then takes whole groups.
        validation_data : tuple (X, y), optional
            The validation part. By default it is taken from the training data.

        Returns
        -------
        self
            The trained classifier.

        Raises
        ------
        DataError
            If the data are of unfit shape, not finite, or of fewer than two classes.
        SettingError
            If a parameter is out of its range.
        """
        self.check_settings()
        network_rng, training_rng, split_rng = (
            np.random.default_rng(seed) for seed in np.random.SeedSequence(self.random_state).spawn(3)
        )
        classes, training, validation = self._parts(X, y, groups, validation_data, split_rng)
        mean, scale = _mean_and_scale(training[0])
        network = self._make_network(len(mean), len(classes))
        class_weights = self._class_weights(training[1], classes)

        with progress_bar(0, "training", "epochs", self.verbose) as bar:

            def show(epoch: Epoch) -> None:
                bar.total = epoch.epochs
                figures = {
                    "loss": f"{epoch.training_loss:.3f}",
                    "accuracy": f"{100 * epoch.training_accuracy:.1f} %",
                }
                if epoch.validation_accuracy is not None:
                    figures |= {
                        "validation loss": f"{epoch.validation_loss:.3f}",
                        "validation accuracy": f"{100 * epoch.validation_accuracy:.1f} %",
                    }
                bar.set_postfix(figures, refresh=False)
                bar.update()

            params, history = train(
                network,
                network.init(network_rng, forget_bias=self.forget_bias),
                (_scaled(training[0], mean, scale), training[1]),
                None if validation is None else (_scaled(validation[0], mean, scale), validation[1]),
                self._training_options(),
                training_rng,
                class_weights,
                show,
            )
            if len(history) < bar.total:
                bar.set_description(f"training (of {bar.total}, ended early)")
                bar.total = len(history)
        # All at once, so that a training that fails leaves what was learned before.
        self.classes_, self.network_, self.params_ = classes, network, freeze(params)
        self.mean_, self.scale_, self.n_features_in_ = mean, scale, len(mean)
        self.history_ = [dataclasses.asdict(epoch) for epoch in history]
        self.card_ = _start_card(classes, training[1], None if validation is None else validation[1])
        return self

    def check_settings(self) -> None:
        """Make sure that every parameter is in its range, before something long begins.

        Raises
        ------
        SettingError
            If one is not.
        """
        self._training_options()
        self._make_network(n_features=1, n_classes=2)
        check_number("forget_bias", self.forget_bias)
        check_probability("validation_fraction", self.validation_fraction)
        check_number("random_state (the seed)", self.random_state, whole=True, at_least=0)
        if not (self.class_weight in (None, "balanced") or isinstance(self.class_weight, Mapping)):
            raise SettingError(f"class_weight is 'balanced', a dict or None, not {self.class_weight!r}")
        if isinstance(self.class_weight, Mapping):
            for label, weight in self.class_weight.items():
                check_number(f"class_weight of {label}", weight, above=0)

    def predict_proba(self, X: Sequence[Any]) -> np.ndarray:
        """Compute the probability of every class.

        Parameters
        ----------
        X : sequence of array (T, F)
            Sequences.

        Returns
        -------
        ndarray (N, K), float32
            Rows sum to 1; columns are in the order of `classes_`.

        Raises
        ------
        DataError
            If the data are of unfit shape or not finite.
        """
        self._check_fitted()
        sequences = _check_sequences(X, self.n_features_in_)
        scaled = _scaled(sequences, self.mean_, self.scale_)
        return softmax(predict_logits(self.network_, self.params_, scaled))

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """Label sequences.

        Parameters
        ----------
        X : sequence of array (T, F)
            Sequences.

        Returns
        -------
        ndarray (N,)
            The most probable label of each.
        """
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def score(self, X: Sequence[Any], y: Sequence[Hashable]) -> float:
        """Compute the part of the sequences that is labelled right.

        Parameters
        ----------
        X : sequence of array (T, F)
            Sequences.
        y : sequence
            Their true labels.

        Returns
        -------
        float
            Accuracy, 0 .. 1.
        """
        predicted = self.predict(X)
        labels = _check_labels(y, len(predicted))
        if not np.isin(labels, self.classes_).any():
            raise DataError(
                f"none of the labels is the model's: {labels[0]!r} is not in {self.classes_.tolist()}"
            )
        return float(np.mean(predicted == labels))

    def trace(self, sequence: Any, label: Hashable = None) -> dict[str, np.ndarray]:
        """Record every step of the LSTM, and the gradient of a label's cross-entropy with respect to it.

        Parameters
        ----------
        sequence : array (T, F)
            One sequence.
        label : optional
            The label whose loss is meant. By default the one that is predicted.

        Returns
        -------
        dict of str to ndarray (T, hidden_size)
            Gates, cell and output of each layer and direction, ``i_l0``, ``f_l0``, ``g_l0``, ``o_l0``,
            ``c_l0``, ``h_l0``, ``i_l0_reverse``, ..., and the gradients, ``di_l0``, ...

        Raises
        ------
        DataError
            If the sequence is of unfit shape or not finite, or the label unknown.
        NotFittedError
            If it was not trained yet.
        """
        self._check_fitted()
        label = self.predict([sequence])[0] if label is None else label
        target = _class_numbers(np.array([label]), self.classes_)
        x, lengths = pad(_scaled(_check_sequences([sequence], self.n_features_in_), self.mean_, self.scale_))
        traced = self.network_.trace(self.params_, x, lengths, target)
        return {name: array[:, 0] for name, array in traced.items()}

    @property
    def n_parameters_(self) -> int:
        """Trained numbers."""
        return count(self.params_)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the classifier in one safetensors file, atomically, replacing one that is there.

        The LSTM's weights have torch's names. The same training saves the same bytes.

        Parameters
        ----------
        path : path
            The file.
        """
        self._check_fitted()
        arrays = to_torch_names(self.params_)
        arrays |= {"normalisation.mean": self.mean_, "normalisation.scale": self.scale_}
        save_model(path, arrays, self.describe())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a classifier that `save` saved.

        Parameters
        ----------
        path : path
            The file.

        Returns
        -------
        SequenceClassifier
            It predicts what the saved one predicted.

        Raises
        ------
        ModelFileError
            If the file is missing, cut short, of another kind or version, or inconsistent.
        """
        arrays, description = load_model(path)
        if description.get("estimator") != cls.__name__:
            raise ModelFileError(
                f"{path}: holds a {description.get('estimator')}, not a {cls.__name__}; train anew"
            )
        try:
            return cls._restore(arrays, description)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{path}: damaged or made by hand ({error}); copy it again or train anew"
            ) from None

    def describe(self) -> dict[str, Any]:
        """Put everything but the arrays into plain values.

        Returns
        -------
        dict
            What JSON can hold: settings, classes, history and card.
        """
        return {
            "estimator": type(self).__name__,
            "settings": self.get_params() | {"class_weight": self._plain_class_weight()},
            "classes": self.classes_.tolist(),
            "history": self.history_,
            "card": self.card_,
        }

    @classmethod
    def _restore(cls, arrays: Params, description: dict[str, Any]) -> Self:
        classifier = cls(**description["settings"])
        classifier.classes_ = np.array(description["classes"])
        if isinstance(classifier.class_weight, Mapping):  # JSON knows no keys but text
            weights = classifier.class_weight
            classifier.class_weight = {
                k: weights[str(k)] for k in description["classes"] if str(k) in weights
            }
        classifier.history_, classifier.card_ = description["history"], description["card"]
        classifier.mean_ = arrays.pop("normalisation.mean")
        classifier.scale_ = arrays.pop("normalisation.scale")
        classifier.n_features_in_ = len(classifier.mean_)
        classifier.network_ = classifier._make_network(classifier.n_features_in_, len(classifier.classes_))
        classifier.params_ = freeze(from_torch_names(arrays))
        wanted = {name: a.shape for name, a in classifier.network_.init(np.random.default_rng()).items()}
        found = {name: a.shape for name, a in classifier.params_.items()}
        if wanted != found:
            raise ValueError(f"weights of shapes {found} where the settings want {wanted}")
        return classifier

    def _make_network(self, n_features: int, n_classes: int) -> Network:
        lstm = LSTM(
            n_features,
            self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            engine=self.engine,
        )
        return Network(lstm, n_classes, self.pooling, self.dropout)

    def _training_options(self) -> TrainingOptions:
        names = [field.name for field in dataclasses.fields(TrainingOptions)]
        return TrainingOptions(**{name: getattr(self, name) for name in names})

    def _parts(
        self,
        X: Sequence[Any],
        y: Sequence[Hashable],
        groups: Sequence[Hashable] | None,
        validation_data: tuple[Sequence[Any], Sequence[Hashable]] | None,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, Part, Part | None]:
        """Learn the classes, and part the data into training and validation."""
        sequences = _check_sequences(X)
        labels = _check_labels(y, len(sequences))
        classes, targets = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise DataError(f"all clips are labelled {classes[0]}; at least two classes are needed")

        if validation_data is not None:
            held = _check_sequences(validation_data[0], sequences[0].shape[1])
            held_labels = _check_labels(validation_data[1], len(held))
            return classes, (sequences, targets), (held, _class_numbers(held_labels, classes))
        if groups is not None:
            groups = list(groups)
            if len(groups) != len(sequences):
                raise DataError(f"{len(sequences)} sequences, but {len(groups)} groups")
        mask = hold_out(targets.tolist(), self.validation_fraction, rng, groups)
        if mask.sum() < len(classes):  # too few to choose an epoch by
            return classes, (sequences, targets), None
        held = [sequences[n] for n in np.flatnonzero(mask)]
        kept = [sequences[n] for n in np.flatnonzero(~mask)]
        return classes, (kept, targets[~mask]), (held, targets[mask])

    def _class_weights(self, targets: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
        if self.class_weight is None:
            return None
        if self.class_weight == "balanced":
            weights = len(targets) / (len(classes) * np.bincount(targets))
        else:
            by_label = dict(self.class_weight)
            weights = np.ones(len(classes))
            weights[_class_numbers(np.asarray(list(by_label)), classes)] = list(by_label.values())
        return np.asarray(weights, np.float32)

    def _plain_class_weight(self) -> dict[str, float] | str | None:
        if isinstance(self.class_weight, Mapping):
            return {str(label): float(weight) for label, weight in self.class_weight.items()}
        return self.class_weight

    def _check_fitted(self) -> None:
        if not hasattr(self, "params_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit first")


def _check_sequences(X: Sequence[Any], n_features: int | None = None) -> list[np.ndarray]:
    """Refuse what the network cannot take; float32 arrays of one width."""
    if isinstance(X, str | os.PathLike):
        raise DataError(f"{X}: a list is wanted here, also for one clip: [{str(X)!r}]")
    sequences = []
    for n, sequence in enumerate(X):
        try:
            array = np.asarray(sequence, dtype=np.float32)
        except (TypeError, ValueError):
            raise DataError(f"sequence {n} is no array of numbers of shape (T, F)") from None
        if array.ndim != 2 or array.shape[1] != (n_features or array.shape[1]) or len(array) == 0:
            width = n_features or "F"
            raise DataError(f"sequence {n} has shape {array.shape}, not (T, {width}) with at least one step")
        if not np.isfinite(array).all():
            raise DataError(f"sequence {n} holds NaN or infinite values")
        n_features = array.shape[1]
        sequences.append(array)
    if not sequences:
        raise DataError("there are no sequences")
    return sequences


def _check_labels(y: Sequence[Hashable], n: int) -> np.ndarray:
    """Refuse anything but one label for each of n clips."""
    labels = np.asarray(list(y))
    if labels.shape != (n,):
        raise DataError(f"{n} sequences, but labels of shape {labels.shape}")
    if labels.dtype == object:
        raise DataError("labels are of several kinds; make them all text, or all numbers")
    return labels


def _class_numbers(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    # Not by numpy's sets, which take "20" for 20.
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    for label in labels.tolist():
        if not isinstance(label, Hashable) or label not in numbers:
            raise DataError(f"label {label!r} does not occur in the training data")
    return np.array([numbers[label] for label in labels.tolist()], dtype=np.intp)


def _mean_and_scale(sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature over all steps; 1 where a feature does not vary."""
    steps = sum(len(sequence) for sequence in sequences)
    mean = sum(sequence.sum(axis=0, dtype=np.float64) for sequence in sequences) / steps
    variance = sum(((sequence - mean) ** 2).sum(axis=0) for sequence in sequences) / steps
    constant = variance <= 1e-10 * np.maximum(mean**2, 1e-10)  # it deviates by rounding alone
    scale = np.where(constant, 1, np.sqrt(variance))
    return np.asarray(mean, np.float32), np.asarray(scale, np.float32)


def _scaled(sequences: Sequence[np.ndarray], mean: np.ndarray, scale: np.ndarray) -> list[np.ndarray]:
    return [(sequence - mean) / scale for sequence in sequences]


def _start_card(classes: np.ndarray, training: np.ndarray, validation: np.ndarray | None) -> dict[str, Any]:
    """Version, and clips per class and part."""

    def clips(targets: np.ndarray | None, k: int) -> int:
        return 0 if targets is None else int((targets == k).sum())

    return {
        "version": __version__,
        "clips": {
            str(label): {"training": clips(training, k), "validation": clips(validation, k)}
            for k, label in enumerate(classes)
        },
    }
