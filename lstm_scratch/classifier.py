"""SequenceClassifier: feature sequences in, labels out, by scikit-learn's protocol.

Letters: T time steps, F features per step, K classes.
"""

import copy
import dataclasses
import hashlib
import math
import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from lstm_scratch.batches import Distortion, Examples, Fetched, Redraw, pad
from lstm_scratch.checkpoint import PREFIX, of_model, restore_state, state_arrays, state_values
from lstm_scratch.checks import check_number, check_probability
from lstm_scratch.errors import DataError, ModelFileError, NotFittedError, SettingError
from lstm_scratch.estimator import Estimator
from lstm_scratch.files import load_model, save_model
from lstm_scratch.layers.loss import softmax
from lstm_scratch.layers.pooling import EACH
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.network import Network
from lstm_scratch.params import Params, count, freeze, from_torch_names, to_torch_names
from lstm_scratch.progress import progress_bar
from lstm_scratch.splits import hold_out
from lstm_scratch.training import (
    Epoch,
    Part,
    TrainingOptions,
    TrainingState,
    first_state,
    predict_logits,
    train,
)
from lstm_scratch.variants import PLAIN, Variant
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
    pooling : str, default "mean+max+attention"
        How the steps become one vector: "mean", "max", "std", "last", "attention", or several joined by
        "+". "none": every step has a label of its own, and `fit` takes an array (T,) of labels for each.
    dropout : float, default 0.3
        Probability of dropping a value between layers and after pooling, in training.
    forget_bias : float, default 0
        Bias of the forget gates before training; from 1 on, long sequences are learned sooner.
    variant : Variant, optional
        What differs from the plain LSTM. By default nothing. Variants are computed by numpy, for now.
    epochs : int, optional
        Times through the training part. By default as many as make 2000 updates, at least 20.
    batch_size : int, default 16
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
    sampling : {"shuffled", "balanced"}, default "shuffled"
        Which sequences an epoch has: each once, or as many, drawn with replacement, so that every class comes
        equally often.
    ema_decay : float, default 0
        Decay of a running mean of the parameters over the updates, which is what is kept. 0: they themselves.
    mixup : float, default 0
        Parameter of the beta distribution of the weights with which sequences are mixed in training. 0: none.
    time_masks : int, default 0
        Stretches of time that are hidden in training.
    time_mask : float, default 0.1
        Part of the sequence that each hides at most.
    feature_masks : int, default 0
        Bands of neighbouring features that are hidden in training.
    feature_mask : float, default 0.2
        Part of the features that each hides at most.
    validation_fraction : float, default 0
        Part of the training data by which the best epoch is chosen. 0: the last epoch is kept.
    patience : int, optional
        Epochs without a better validation loss after which training stops, where there is a validation part.
        By default a quarter of the epochs, at least 5.
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
    pooling: str = "mean+max+attention"
    dropout: float = 0.3
    forget_bias: float = 0.0
    variant: Variant = PLAIN
    epochs: int | None = None
    batch_size: int = 16
    learning_rate: float = 4e-3
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    label_smoothing: float = 0.1
    class_weight: ClassWeight = None
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    ema_decay: float = 0.0
    mixup: float = 0.0
    time_masks: int = 0
    time_mask: float = 0.1
    feature_masks: int = 0
    feature_mask: float = 0.2
    validation_fraction: float = 0.0
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
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_seconds: float = 10.0,
        resume: bool = False,
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> Self:
        """Train on labelled sequences.

        Parameters
        ----------
        X : sequence of array (T, F)
            Training data, each of at least one step. `Fetched` sequences are asked for whenever they are
            needed, and are not kept in memory.
        y : sequence
            A label for each, or, with ``pooling="none"``, for each an array (T,) of labels.
        groups : sequence, optional
            Who or what was recorded in each: the validation part then takes whole groups.
        validation_data : tuple (X, y), optional
            The validation part. By default `validation_fraction` of the training data.
        checkpoint : path, optional
            A file that is written at the start of training, whenever `checkpoint_seconds` have passed, and at
            the end: `load` makes a classifier of it, as good as training had made it by then. A training
            that diverges leaves it as it was before.
        checkpoint_seconds : float, default 10
            From one checkpoint to the next.
        resume : bool, default False
            Go on from the checkpoint, if it is there: what comes of it is the same to the bit.
        on_epoch : callable, optional
            Called with an `Epoch` after each.

        Returns
        -------
        self
            The trained classifier.

        Raises
        ------
        DataError
            If the data are of unfit shape, not finite, or of fewer than two classes.
        SettingError
            If a parameter is out of its range, or the training diverges (`DivergenceError`).
        ModelFileError
            If the checkpoint is of another training.
        OSError
            If the checkpoint cannot be written. The one before it stays.
        """
        data = X, y, groups, validation_data
        return self._fit(*data, None, checkpoint, checkpoint_seconds, resume, on_epoch)

    def _fit(
        self,
        X: Sequence[Any],
        y: Sequence[Hashable],
        groups: Sequence[Hashable] | None,
        validation_data: tuple[Sequence[Any], Sequence[Hashable]] | None,
        redraw: Redraw | None,
        checkpoint: str | os.PathLike[str] | None,
        checkpoint_seconds: float,
        resume: bool,
        on_epoch: Callable[[Epoch], None] | None,
    ) -> Self:
        """Train, on sequences (and targets, unless these stay) that `redraw` gives anew for each epoch."""
        self.check_settings()
        check_number("checkpoint_seconds", checkpoint_seconds, at_least=0)
        seeds = np.random.SeedSequence(self.random_state).spawn(3)
        network_rng, split_rng = np.random.default_rng(seeds[0]), np.random.default_rng(seeds[2])
        digests: list[bytes] | None = None if checkpoint is None else []
        classes, parts, kept = self._parts(X, y, groups, validation_data, split_rng, digests)
        (sequences, targets), validation = parts
        mean, scale = _mean_and_scale(sequences)

        def redraw_scaled(n: int, rng: np.random.Generator) -> tuple[np.ndarray, Any]:
            assert redraw is not None
            sequence, target = redraw(int(kept[n]), rng)
            return (sequence - mean) / scale, targets[n] if target is None else target

        examples = Examples(
            _scaled(sequences, mean, scale),
            targets,
            len(classes),
            self._distortion(),
            None if redraw is None else redraw_scaled,
        )
        network = self._make_network(len(mean), len(classes))
        card = _start_card(classes, targets, None if validation is None else validation[1])
        learned = classes, network, mean, scale, card
        checkpoints = _Checkpoints(
            lambda state: copy.copy(self)._learn(*learned, state.kept, state.history),
            lambda: _fingerprint(self, classes, parts, card, kept, digests or []),
            checkpoint,
            checkpoint_seconds,
        )
        start, options = network.init(network_rng, forget_bias=self.forget_bias), self._training_options()
        state = checkpoints.load(first_state(start, options)) if resume else None
        with progress_bar(0, "training", "updates", self.verbose) as bar:

            def note(state: TrainingState, updates: int) -> None:
                checkpoints.note(state)
                if bar.total != updates:  # the first one, perhaps of a training that goes on
                    bar.total = updates
                    bar.initial = bar.n = bar.last_print_n = state.optimiser.steps
                bar.update()

            def show(epoch: Epoch) -> None:
                figures = {
                    "epoch": f"{epoch.epoch}/{epoch.epochs}",
                    "loss": f"{epoch.training_loss:.3f}",
                    "accuracy": f"{100 * epoch.training_accuracy:.1f} %",
                }
                if epoch.validation_accuracy is not None:
                    figures |= {
                        "validation loss": f"{epoch.validation_loss:.3f}",
                        "validation accuracy": f"{100 * epoch.validation_accuracy:.1f} %",
                    }
                bar.set_postfix(figures, refresh=False)
                if on_epoch is not None:
                    on_epoch(epoch)

            params, history = train(
                network,
                start,
                examples,
                None if validation is None else (_scaled(validation[0], mean, scale), validation[1]),
                options,
                int(seeds[1].generate_state(1)[0]),
                self._class_weights(targets, classes),
                self._sampling_weights(targets),
                show,
                note,
                state,
            )
            if bar.total and bar.n < bar.total:
                bar.set_description("training (ended early)")
                bar.total = bar.n
        checkpoints.finish()
        # All at once, so that a training that fails leaves what was learned before.
        return self._learn(*learned, params, history)

    def _learn(
        self,
        classes: np.ndarray,
        network: Network,
        mean: np.ndarray,
        scale: np.ndarray,
        card: dict[str, Any],
        params: Params,
        history: Sequence[Epoch],
    ) -> Self:
        self.classes_, self.network_, self.params_ = classes, network, freeze(params)
        self.mean_, self.scale_, self.n_features_in_ = mean, scale, len(mean)
        self.history_, self.card_ = [dataclasses.asdict(epoch) for epoch in history], dict(card)
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
        if not isinstance(self.bidirectional, bool | np.bool_):
            raise SettingError(f"bidirectional is True or False, not {self.bidirectional!r}")
        check_number("forget_bias", self.forget_bias)
        check_probability("validation_fraction", self.validation_fraction)
        check_number("random_state (the seed)", self.random_state, whole=True, at_least=0)
        if not (self.class_weight in (None, "balanced") or isinstance(self.class_weight, Mapping)):
            raise SettingError(f"class_weight is 'balanced', a dict or None, not {self.class_weight!r}")
        if self.sampling not in ("shuffled", "balanced"):
            raise SettingError(f"sampling is shuffled or balanced, not {self.sampling!r}")
        if not isinstance(self.variant, Variant):
            raise SettingError(f"variant is a Variant, not {self.variant!r}")
        for name in ("time_masks", "feature_masks"):
            check_number(name, getattr(self, name), whole=True, at_least=0)
        for name in ("time_mask", "feature_mask"):
            check_probability(name, getattr(self, name))
        check_number("mixup", self.mixup, at_least=0)
        if self.pooling == EACH and (self.mixup or self.sampling == "balanced"):
            raise SettingError("where every step has a label, there is no mixup, and sampling is shuffled")
        if isinstance(self.class_weight, Mapping):
            for label, weight in self.class_weight.items():
                check_number(f"class_weight of {label}", weight, above=0)

    def check_one_label_each(self) -> None:
        """Make sure that it learns from one label for each sequence, before something long begins.

        Raises
        ------
        SettingError
            If it wants one for every step.
        """
        if self.pooling == EACH:
            raise SettingError(
                f"pooling={EACH!r} learns from a label of every step, but here every clip has one label; "
                "choose another pooling, such as mean"
            )

    def predict_proba(self, X: Sequence[Any]) -> Any:
        """Compute the probability of every class.

        Parameters
        ----------
        X : sequence of array (T, F)
            Sequences.

        Returns
        -------
        ndarray (N, K), float32, or list of ndarray (T, K) where every step has a label
            Rows sum to 1; columns are in the order of `classes_`.

        Raises
        ------
        DataError
            If the data are of unfit shape or not finite.
        """
        self._check_fitted()
        sequences = _check_sequences(X, self.n_features_in_)
        scaled = _scaled(sequences, self.mean_, self.scale_)
        logits = predict_logits(self.network_, self.params_, scaled)
        return [softmax(of_one) for of_one in logits] if self.pooling == EACH else softmax(logits)

    def predict(self, X: Sequence[Any]) -> Any:
        """Label sequences.

        Parameters
        ----------
        X : sequence of array (T, F)
            Sequences.

        Returns
        -------
        ndarray (N,), or list of ndarray (T,) where every step has a label
            The most probable label of each.
        """
        probabilities = self.predict_proba(X)
        if self.pooling == EACH:
            return [self.classes_[of_one.argmax(axis=1)] for of_one in probabilities]
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
        if self.pooling == EACH:
            labels = np.concatenate(_check_step_labels(y, [len(of_one) for of_one in predicted]))
            predicted = np.concatenate(predicted)
        else:
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
            The label whose loss is meant, or one for every step. By default what is predicted.

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
        target = target.T if self.pooling == EACH else target
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
        save_model(path, self._arrays(), self.describe())

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
        arrays = of_model(arrays)
        if description.get("estimator") != cls.__name__:
            raise ModelFileError(
                f"{path}: holds a {description.get('estimator')}, not a {cls.__name__}; name another file"
            )
        try:
            return cls._restore(arrays, description)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{path}: damaged or made by hand ({error}); copy it again or train anew"
            ) from None

    def _arrays(self) -> Params:
        normalisation = {"normalisation.mean": self.mean_, "normalisation.scale": self.scale_}
        return to_torch_names(self.params_) | normalisation

    def describe(self) -> dict[str, Any]:
        """Put everything but the arrays into plain values.

        Returns
        -------
        dict
            What JSON can hold: settings, classes, history and card.
        """
        settings = self.get_params()
        settings |= {"class_weight": self._plain_class_weight(), "variant": self.variant.differing()}
        del settings["verbose"]  # it makes no other model
        return {
            "estimator": type(self).__name__,
            "settings": settings,
            "classes": self.classes_.tolist(),
            "history": self.history_,
            "card": self.card_,
        }

    @classmethod
    def _restore(cls, arrays: Params, description: dict[str, Any]) -> Self:
        settings = description["settings"]
        classifier = cls(**settings | {"variant": Variant(**settings["variant"])})
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
            variant=self.variant,
        )
        return Network(lstm, n_classes, self.pooling, self.dropout)

    def _training_options(self) -> TrainingOptions:
        names = [field.name for field in dataclasses.fields(TrainingOptions)]
        return TrainingOptions(**{name: getattr(self, name) for name in names})

    def _distortion(self) -> Distortion:
        names = ("time_masks", "time_mask", "feature_masks", "feature_mask", "mixup")
        return Distortion(**{name: getattr(self, name) for name in names})

    def _parts(
        self,
        X: Sequence[Any],
        y: Sequence[Hashable],
        groups: Sequence[Hashable] | None,
        validation_data: tuple[Sequence[Any], Sequence[Hashable]] | None,
        rng: np.random.Generator,
        digests: list[bytes] | None,
    ) -> tuple[np.ndarray, tuple[Part, Part | None], np.ndarray]:
        """Learn the classes, and part the data: training, validation, and which of X are trained on."""
        sequences = _check_sequences(X, digests=digests)
        everything = np.arange(len(sequences))
        targets: Any
        if self.pooling == EACH:
            if any(np.asarray(of_one).ndim == 0 for of_one in y):
                self.check_one_label_each()
            classes, targets = _classes_of_steps(_check_step_labels(y, _lengths(sequences)))
        else:
            classes, targets = np.unique(_check_labels(y, len(sequences)), return_inverse=True)
        if len(classes) < 2:
            raise DataError(f"all clips are labelled {classes[0]}; at least two classes are needed")

        if validation_data is not None:
            held = _check_sequences(validation_data[0], sequences[0].shape[1], digests)
            if self.pooling == EACH:
                step_labels = _check_step_labels(validation_data[1], _lengths(held))
                held_targets: Any = [_class_numbers(of_one, classes) for of_one in step_labels]
            else:
                held_targets = _class_numbers(_check_labels(validation_data[1], len(held)), classes)
            return classes, ((sequences, targets), (held, held_targets)), everything
        if groups is not None:
            groups = list(groups)
            if len(groups) != len(sequences):
                raise DataError(f"{len(sequences)} sequences, but {len(groups)} groups")
        # Sequences of many labels are held out without regard to them.
        strata = [0] * len(sequences) if self.pooling == EACH else targets.tolist()
        mask = hold_out(strata, self.validation_fraction, rng, groups)
        if mask.sum() < (1 if self.pooling == EACH else len(classes)):  # too few to choose an epoch by
            return classes, ((sequences, targets), None), everything
        parts = [_chosen(sequences, targets, np.flatnonzero(side)) for side in (~mask, mask)]
        if self.pooling == EACH and len(learned := np.unique(np.concatenate(parts[0][1]))) < len(classes):
            label = np.delete(classes, learned)[0]
            raise DataError(
                f"label {str(label)!r} stands in sequences of the validation part alone; lower "
                "validation_fraction, give validation_data, or add sequences with that label"
            )
        return classes, (parts[0], parts[1]), np.flatnonzero(~mask)

    def _sampling_weights(self, targets: np.ndarray) -> np.ndarray | None:
        if self.sampling == "shuffled":
            return None
        return np.asarray((1 / np.bincount(targets))[targets])

    def _class_weights(self, targets: Any, classes: np.ndarray) -> np.ndarray | None:
        if self.class_weight is None:
            return None
        if self.pooling == EACH:
            targets = np.concatenate(targets)
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


def _check_sequences(
    X: Sequence[Any], n_features: int | None = None, digests: list[bytes] | None = None
) -> Sequence[np.ndarray]:
    """Refuse what the network cannot take; float32 arrays of one width. What is fetched stays where it is.

    A hash of each is appended to `digests`, if they are wanted: whoever needs both fetches only once.
    """
    if isinstance(X, str | os.PathLike):
        raise DataError(f"{X}: a list is wanted here, also for one clip: [{str(X)!r}]")
    if hasattr(X, "lengths") and not isinstance(X, Fetched):  # it knows them without fetching: a store
        X = Fetched(X.__getitem__, [int(length) for length in X.lengths])
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
        if digests is not None:
            digests.append(hashlib.sha256(repr(array.shape).encode() + array.tobytes()).digest())
        if not isinstance(X, Fetched):
            sequences.append(array)
    checked = (
        X.map(lambda sequence: np.asarray(sequence, np.float32)) if isinstance(X, Fetched) else sequences
    )
    if not len(checked):
        raise DataError("there are no sequences")
    return checked


def _check_labels(y: Sequence[Hashable], n: int) -> np.ndarray:
    """Refuse anything but one label for each of n clips."""
    labels = np.asarray(list(y))
    if labels.shape != (n,):
        raise DataError(f"{n} sequences, but labels of shape {labels.shape}")
    if labels.dtype == object:
        raise DataError("labels are of several kinds; make them all text, or all numbers")
    return labels


def _check_step_labels(y: Sequence[Any], lengths: Sequence[int]) -> list[np.ndarray]:
    """Refuse anything but one label for each step."""
    labels = [np.asarray(of_one) for of_one in y]
    if len(labels) != len(lengths):
        raise DataError(f"{len(lengths)} sequences, but labels of {len(labels)}")
    for n, (of_one, length) in enumerate(zip(labels, lengths, strict=True)):
        if of_one.shape != (length,) or of_one.dtype == object:
            raise DataError(
                f"sequence {n} has {length} steps, but labels of shape {of_one.shape}: one is wanted for each"
            )
    return labels


def _classes_of_steps(labels: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    classes, targets = np.unique(np.concatenate(labels), return_inverse=True)
    return classes, np.split(targets, np.cumsum([len(of_one) for of_one in labels])[:-1])


def _class_numbers(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    # Not by numpy's sets, which take "20" for 20.
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    for label in labels.tolist():
        if not isinstance(label, Hashable) or label not in numbers:
            raise DataError(f"label {label!r} does not occur in the training data")
    return np.array([numbers[label] for label in labels.tolist()], dtype=np.intp)


class _Checkpoints:
    """Writes how far a training is, from time to time, and reads it again."""

    def __init__(
        self,
        snapshot: Callable[[TrainingState], SequenceClassifier],
        fingerprint: Callable[[], str],
        path: str | os.PathLike[str] | None,
        seconds: float,
    ) -> None:
        self._snapshot, self._path, self._seconds = snapshot, path, seconds
        self._whose = "" if path is None else fingerprint()
        self._state: TrainingState | None = None
        self._last = -math.inf

    def note(self, state: TrainingState) -> None:
        """Write, if it is time, and if the training is sound as it stands."""
        self._state = state
        if not state.loud and time.monotonic() - self._last >= self._seconds:
            self._write(state)
            self._last = time.monotonic()

    def finish(self) -> None:
        """Write what the training has come to, if it did anything."""
        if self._state is not None:
            self._write(self._state)

    def _write(self, state: TrainingState) -> None:
        if self._path is None:
            return
        snapshot = self._snapshot(state)
        description = snapshot.describe() | {PREFIX: state_values(state) | {"whose": self._whose}}
        try:
            save_model(self._path, snapshot._arrays() | state_arrays(state), description)
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot write the checkpoint ({error.strerror}); mend that and resume",
                str(self._path),
            ) from None

    def load(self, start: TrainingState) -> TrainingState | None:
        if self._path is None:
            raise SettingError("resume: name the checkpoint to go on from")
        if not Path(self._path).exists():
            return None
        arrays, description = load_model(self._path)
        values = description.get(PREFIX)
        if values is None:
            raise ModelFileError(f"{self._path}: a model that is ready, and no checkpoint; name another file")
        try:
            state = restore_state(arrays, values, start) if values["whose"] == self._whose else None
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{self._path}: a checkpoint that is damaged or made by hand ({error!r}); "
                "remove it and begin anew"
            ) from None
        if state is None:
            raise ModelFileError(
                f"{self._path}: a checkpoint of a training with other data or settings; "
                "go on with the same, or remove it"
            )
        return state


def _fingerprint(
    classifier: SequenceClassifier,
    classes: np.ndarray,
    parts: Sequence[Part | None],
    card: object,
    kept: np.ndarray,
    digests: Sequence[bytes],
) -> str:
    """Tell trainings apart, by their settings and their data: hashes of all sequences that were given."""
    settings = classifier.get_params() | {"verbose": None}
    digest = hashlib.sha256(repr((_told_whole(settings), classes.tolist(), card)).encode())
    digest.update(b"".join(digests) + kept.tobytes())
    for part in parts:
        for of_one in part[1] if part is not None else ():
            digest.update(np.asarray(of_one).tobytes())
    return digest.hexdigest()


def _told_whole(setting: Any) -> Any:
    """Put a hash in the place of every array of a setting: `repr` tells no more than an array's ends."""
    if dataclasses.is_dataclass(setting):
        fields = {field.name: getattr(setting, field.name) for field in dataclasses.fields(setting)}
        return type(setting).__name__, _told_whole(fields)
    if isinstance(setting, Mapping):
        return {name: _told_whole(value) for name, value in setting.items()}
    if isinstance(setting, np.ndarray):
        return setting.dtype.str, setting.shape, hashlib.sha256(setting.tobytes()).hexdigest()
    if isinstance(setting, Sequence) and not isinstance(setting, str):
        return [_told_whole(value) for value in setting]
    return setting


def _lengths(sequences: Sequence[np.ndarray]) -> list[int]:
    if isinstance(sequences, Fetched):
        return sequences.lengths
    return [len(sequence) for sequence in sequences]


def _mean_and_scale(sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature over all steps; 1 where a feature does not vary."""
    steps = sum(_lengths(sequences))
    mean = sum(sequence.sum(axis=0, dtype=np.float64) for sequence in sequences) / steps
    variance = sum(((sequence - mean) ** 2).sum(axis=0) for sequence in sequences) / steps
    constant = variance <= 1e-10 * np.maximum(mean**2, 1e-10)  # it deviates by rounding alone
    scale = np.where(constant, 1, np.sqrt(variance))
    return np.asarray(mean, np.float32), np.asarray(scale, np.float32)


def _scaled(sequences: Sequence[np.ndarray], mean: np.ndarray, scale: np.ndarray) -> Sequence[np.ndarray]:
    if isinstance(sequences, Fetched):
        return sequences.map(lambda sequence: (sequence - mean) / scale)
    return [(sequence - mean) / scale for sequence in sequences]


def _chosen(
    sequences: Sequence[np.ndarray], targets: Any, indices: np.ndarray
) -> tuple[Sequence[np.ndarray], Any]:
    targets = targets[indices] if isinstance(targets, np.ndarray) else [targets[n] for n in indices]
    if isinstance(sequences, Fetched):
        return sequences.take(indices), targets
    return [sequences[n] for n in indices], targets


def _start_card(classes: np.ndarray, training: Any, validation: Any) -> dict[str, Any]:
    """Version, and clips (or steps) per class and part."""

    def clips(targets: Any, k: int) -> int:
        if targets is None:
            return 0
        of_each = [targets] if isinstance(targets, np.ndarray) else targets
        return int(sum((of_one == k).sum() for of_one in of_each))

    return {
        "version": __version__,
        "clips": {
            str(label): {"training": clips(training, k), "validation": clips(validation, k)}
            for k, label in enumerate(classes)
        },
    }
