"""SpeechDetector: sound in, the probability of speech out, frame by frame.

Letters: N samples, T frames, F features per frame.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lstm_scratch.audio import AudioClassifier
from lstm_scratch.checks import check_number
from lstm_scratch.errors import SettingError
from lstm_scratch.layers.pooling import EACH
from lstm_scratch.progress import progress_bar
from lstm_scratch.scenes import Clip, Scene, SceneSettings, draw_scene
from lstm_scratch.segments import Segment, Segmentation, Segmenter
from lstm_scratch.shipped import FOLDER, SUFFIX
from lstm_scratch.sound import FeatureSettings, FeatureStream, read_audio
from lstm_scratch.stream import Stream
from lstm_scratch.training import Epoch

SHIPPED = FOLDER / f"voice-activity{SUFFIX}"  # whatever is called so in the folder that one works in
CLASSES = ("other", "speech")  # in the order of labels 0 and 1
APART = 6  # what sets the seeds of the first scenes apart from those of all else that is drawn


@dataclass(kw_only=True, eq=False)
class SpeechDetector(AudioClassifier):
    """Voice-activity detector: an LSTM in one direction, with the probability of speech after every step.

    It learns from scenes, which it draws from clips of speech and of noise.

    Parameters
    ----------
    scenes : SceneSettings, optional
        What the scenes are like.
    n_scenes : int, default 3000
        Scenes of an epoch.
    copies : int, default 1
        1: the scenes of the first epoch are those of all. 0: each epoch has others.
    look_ahead : int, default 4
        Steps that are heard before a step is judged: a part of the latency.
    features, hidden_size, epochs, random_state and so on
        All of `AudioClassifier`'s, with other defaults.

    Attributes
    ----------
    sample_rate_ : int
        The rate at which sound is analysed, in Hz.
    """

    features: FeatureSettings = FeatureSettings(  # noqa: RUF009 (it is frozen)
        kind="log-mel", n_mels=32, framing="whole-frames", top_db=None, log_floor=1e-8, stack=2
    )
    sample_rate: int | None = 16_000
    hidden_size: int = 64
    num_layers: int = 2
    bidirectional: bool = False
    pooling: str = EACH
    dropout: float = 0.1
    epochs: int | None = 20
    batch_size: int = 16
    label_smoothing: float = 0.0
    validation_fraction: float = 0.1
    scenes: SceneSettings = SceneSettings()  # noqa: RUF009 (it is frozen)
    n_scenes: int = 3000
    copies: int = 1
    look_ahead: int = 4

    def fit_scenes(
        self,
        speakers: Sequence[Sequence[Clip]],
        noises: Sequence[np.ndarray],
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_seconds: float = 10.0,
        resume: bool = False,
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> Self:
        """Train on scenes.

        Parameters
        ----------
        speakers : sequence of sequence of Clip
            What each speaker said, at `sample_rate`.
        noises : sequence of array (M,)
            What is not speech, at `sample_rate`.
        checkpoint : path, optional
            A file that is written while training goes on, as of `SequenceClassifier.fit`.
        checkpoint_seconds : float, default 10
            From one checkpoint to the next.
        resume : bool, default False
            Go on from the checkpoint, if it is there: what comes of it is the same to the bit.
        on_epoch : callable, optional
            Called with an `Epoch` after each.

        Returns
        -------
        self
            The trained detector.

        Raises
        ------
        SettingError
            If a parameter is out of its range.
        DataError
            If there is nobody to speak, or no scene has both speech and something else.
        ModelFileError
            If the checkpoint is of another training.
        """
        self.check_settings()
        rate = self.sample_rate
        assert rate is not None

        def frames(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            scene = draw_scene(speakers, noises, rate, rng, self.scenes)
            return self.features(scene.samples, rate), self.step_labels(scene)

        seeds = np.random.SeedSequence([self.random_state, APART]).spawn(self.n_scenes)
        drawn = []
        with progress_bar(self.n_scenes, "drawing", "scenes", self.verbose) as bar:
            for n, seed in enumerate(seeds):
                drawn.append(frames(n, np.random.default_rng(seed)))
                bar.update()
        names = np.array(CLASSES)
        X, y = [sequence for sequence, _ in drawn], [names[of_steps] for _, of_steps in drawn]
        fitted = dataclasses.replace(self)._at(rate)
        labels: Any = y  # an array for each
        redraw = None if self.copies else frames
        fitted._fit(X, labels, None, None, redraw, checkpoint, checkpoint_seconds, resume, on_epoch)
        self.__dict__.update(fitted.__dict__)
        return self

    def check_settings(self) -> None:
        """Make sure that every parameter is in its range, before something long begins.

        Raises
        ------
        SettingError
            If one is not.
        """
        super().check_settings()
        if self.bidirectional or self.pooling != EACH or self.sample_rate is None:
            raise SettingError(
                f"a SpeechDetector has bidirectional=False, pooling={EACH!r} and a sample_rate; leave these"
            )
        if self.features.framing != "whole-frames":
            raise SettingError("a SpeechDetector has features with framing='whole-frames', as it listens")
        if not isinstance(self.scenes, SceneSettings):
            raise SettingError(f"scenes are SceneSettings, not {self.scenes!r}")
        if self.hears:
            raise SettingError(
                "a SpeechDetector has no augmentation, vtln or tempo: its scenes are drawn anew anyway, as "
                "`scenes` says; leave these"
            )
        FeatureStream(self.features, self.sample_rate)  # what cannot listen is refused before it is trained
        if self.copies not in (0, 1):
            raise SettingError(f"copies of scenes are 1, drawn once, or 0, drawn anew, not {self.copies!r}")
        check_number("n_scenes", self.n_scenes, whole=True, above=0)
        check_number("look_ahead", self.look_ahead, whole=True, at_least=0)

    @property
    def hop_s(self) -> float:
        """From one probability to the next, in seconds."""
        assert self.sample_rate is not None
        return self.features.stack * self.features.sizes(self.sample_rate)[1] / self.sample_rate

    @property
    def n_ahead(self) -> int:
        """How many samples `look_ahead` steps are."""
        return self.look_ahead * self.features.stack * self.features.sizes(self.sample_rate)[1]

    @property
    def latency_s(self) -> float:
        """From the middle of what a probability is about to when it is there, in seconds."""
        assert self.sample_rate is not None
        frame, hop, _ = self.features.sizes(self.sample_rate)
        step = (self.features.stack - 1) * hop + frame
        late = FeatureStream(self.features, self.sample_rate).delay * hop  # of deltas
        return self.look_ahead * self.hop_s + (step + late) / self.sample_rate - self.hop_s / 2

    def step_labels(self, scene: Scene) -> np.ndarray:
        """Label the steps of a scene, each by the sample in the middle of its `hop_s`.

        Parameters
        ----------
        scene : Scene
            At `sample_rate`.

        Returns
        -------
        ndarray (T,), int
            1 for speech. Step t is about what step ``t - look_ahead`` has heard.
        """
        frame, hop, _ = self.features.sizes(self.sample_rate)
        stack = self.features.stack
        n_frames = max(0, 1 + (len(scene.active) - frame) // hop)
        n_steps = -(-n_frames // stack)
        step = np.maximum(np.arange(n_steps) - self.look_ahead, 0)
        middle = step * stack * hop + stack * hop // 2
        return np.asarray(scene.active[np.minimum(middle, len(scene.active) - 1)], np.int64)

    def probabilities(self, samples: np.ndarray) -> np.ndarray:
        """Compute the probability of speech all along a recording.

        Parameters
        ----------
        samples : array (N,), floating
            Mono sound at `sample_rate`, full scale 1.

        Returns
        -------
        ndarray (T,), float32
            Of every `hop_s`, from the beginning. A recording shorter than a frame has none.

        Raises
        ------
        AudioError
            If the samples are no mono sound.
        """
        stream = SpeechStream(self)
        return np.concatenate([stream.probabilities(samples), stream.last_probabilities()])

    def detect(
        self, recording: str | os.PathLike[str] | np.ndarray, segmentation: Segmentation | None = None
    ) -> list[Segment]:
        """Find the stretches of speech in a recording.

        Parameters
        ----------
        recording : path or array (N,)
            A file, or samples at `sample_rate`.
        segmentation : Segmentation, optional
            How probabilities become segments.

        Returns
        -------
        list of Segment
            In their order.

        Raises
        ------
        AudioError
            If the recording cannot be used.
        """
        assert self.sample_rate is not None
        if isinstance(recording, str | os.PathLike):
            recording, _ = read_audio(recording, self.sample_rate)
        stream = SpeechStream(self, segmentation)
        return stream.push(recording) + stream.finish()

    def describe(self) -> dict[str, Any]:
        """Put everything but the arrays into plain values.

        Returns
        -------
        dict
            What JSON can hold.
        """
        description = super().describe()
        description["settings"]["scenes"] = dataclasses.asdict(self.scenes)
        return description

    @classmethod
    def _restore(cls, arrays: dict[str, np.ndarray], description: dict[str, Any]) -> Self:
        scenes = description["settings"]["scenes"]
        pairs: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in scenes.items()}
        settings = description["settings"] | {"scenes": SceneSettings(**pairs)}
        return super()._restore(arrays, description | {"settings": settings})

    @classmethod
    def load(cls, path: str | os.PathLike[str] = SHIPPED) -> Self:
        """Load a detector.

        Parameters
        ----------
        path : path, optional
            A file that `save` wrote. By default the detector that is shipped.

        Returns
        -------
        SpeechDetector
            It gives the probabilities that the saved one gave.

        Raises
        ------
        ModelFileError
            If the file is missing or of another kind.
        """
        return super().load(path)


class SpeechStream:
    """A detector that listens: sound in, segments out as soon as they are certain.

    Put together, its segments are those of `SpeechDetector.detect`.

    Parameters
    ----------
    detector : SpeechDetector
        A trained one.
    segmentation : Segmentation, optional
        How probabilities become segments.
    """

    def __init__(self, detector: SpeechDetector, segmentation: Segmentation | None = None) -> None:
        self._stream, self._look_ahead = Stream(detector), detector.look_ahead
        self._sample_rate, self._ahead = self._stream.sample_rate, detector.n_ahead
        self._segmenter = Segmenter(detector.hop_s, segmentation)
        self._n_samples, self._early = 0, self._look_ahead  # pushed; steps before there is one to judge

    def probabilities(self, samples: np.ndarray) -> np.ndarray:
        """Take in a chunk of sound.

        Parameters
        ----------
        samples : array (n,), floating
            The next samples at the detector's rate, full scale 1; there may be none.

        Returns
        -------
        ndarray (k,), float32
            The probability of speech in the next steps, `SpeechDetector.latency_s` behind the sound.

        Raises
        ------
        AudioError
            If the samples are no mono sound.
        """
        return self._judged(self._stream.push(samples))

    def last_probabilities(self) -> np.ndarray:
        """Take note that the sound is over, and begin anew.

        Returns
        -------
        ndarray (k,), float32
            The probability of speech in the steps that were still to come.
        """
        silence = np.zeros(self._ahead, np.float32)  # is what comes after the end
        rest = [self._judged(self._stream.push(silence)), self._judged(self._stream.finish())]
        self._early = self._look_ahead
        return np.concatenate(rest)

    def _judged(self, found: np.ndarray) -> np.ndarray:
        """Of speech alone, but for the first steps, which are about what was before the beginning."""
        early = min(self._early, len(found))
        self._early -= early
        return found[early:, 1]

    def push(self, samples: np.ndarray) -> list[Segment]:
        """Take in a chunk of sound.

        Parameters
        ----------
        samples : array (n,), floating
            As of `probabilities`.

        Returns
        -------
        list of Segment
            Those that are certain now.

        Raises
        ------
        AudioError
            If the samples are no mono sound.
        """
        found = self.probabilities(samples)
        self._n_samples += len(samples)
        return self._segmenter.push(found)

    def finish(self) -> list[Segment]:
        """Take note that the sound is over, and begin anew.

        Returns
        -------
        list of Segment
            The rest.
        """
        segments = self._segmenter.push(self.last_probabilities())
        segments += self._segmenter.finish(self._n_samples / self._sample_rate)
        self._n_samples = 0
        return segments
