"""Features on disk: for a corpus that does not fit into memory, and for one that is trained on again.

A `FeatureStore` is a sequence of arrays (T, F). Each is read from its file when it is asked for, and nothing
of it stays in memory. (It is read, and not mapped: of a mapped file all that was touched counts as resident.)

What is on disk, in a folder for each kind of features:

- `features.f32`: the frames of all clips, one clip behind the other, and behind those of each what
  `lstm_scratch.inspection` keeps of its recording: 2 kB, by which data are inspected without a second
  reading. It only ever grows.
- `index`: for each clip a record of fixed size, `RECORD`: a hash of the recording's bytes, where its frames
  are, and checksums. It is written once the frames are.
- `lock`: held by whoever writes.

The folder's name depends on all that features depend on but for the recordings: settings, sample rate, our
sources, the libraries' versions, the CPU. So what is found there is what would be computed, bit for bit.

A process that is killed leaves frames without a record, or a record cut short: neither is believed, and both
are computed again. What a failing disk did to the frames shows in their checksum when they are read, and they
are computed again, too.

Beside those folders, `files` remembers what each recording's bytes hashed to, with its size, its times and
its inode. While those stay as they are, the file is not read again. That is safe: whoever writes to a file,
or moves another in its place, changes the time of its last change, which no program can set. Only what was
changed less than two seconds before it was hashed is hashed again next time, as clocks tick coarsely.
"""

import errno
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import soundfile

import simd
from lstm_scratch import inspection
from lstm_scratch.audio import extract_features, samples_of
from lstm_scratch.checks import check_number
from lstm_scratch.errors import DataError
from lstm_scratch.files import atomic_write
from lstm_scratch.progress import progress_bar
from lstm_scratch.sound import FEATURES_FOLDER, AudioError, FeatureSettings, settings_to_dict
from lstm_scratch.threads import one_blas_thread
from lstm_scratch.version import __version__

FORMAT = 2
HASH_BYTES = 16
RECORD = np.dtype(
    [
        ("contents", f"V{HASH_BYTES}"),  # of the recording
        ("offset", "<u8"),  # of the first frame in the features' file, in bytes
        ("steps", "<u4"),
        ("width", "<u4"),
        ("heard", "<u4"),  # bytes of what is kept for inspection
        ("checksum", "<u4"),  # of the frames
        ("heard_checksum", "<u4"),
        ("own_checksum", "<u4"),  # of what stands before it in this record
    ]
)
LIBRARIES = ("llvmlite", "numba", "numpy", "scipy", "soundfile")
FRESH_NS = 2_000_000_000
LOOK_S = 0.05  # between looks whether another process has finished
NUMBA_TARGET = ("CPU_NAME", "CPU_FEATURES", "DISABLE_JIT")
CPU_LINES = ("model name", "flags", "Features", "CPU part")  # of /proc/cpuinfo
WAITING, BEGUN, DONE, BAD = range(4)


class FeatureStore(Sequence[np.ndarray]):
    """Features of many recordings, each read from disk when it is asked for.

    `open_store` makes one.

    Parameters
    ----------
    shelf : _Shelf
        What is shared by a store and its parts.
    indices : ndarray (N,), int
        Which recordings it holds.
    """

    def __init__(self, shelf: "_Shelf", indices: np.ndarray) -> None:
        self._shelf = shelf
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, n: Any) -> Any:
        """Read the features of clip n, float32 (T, F): a new array; or, by a slice, a part of the store."""
        if isinstance(n, slice):
            return type(self)(self._shelf, self._indices[n])
        return self._shelf.features(int(self._indices[n]))

    def heard(self, n: int) -> inspection.Heard:
        """Read what inspection keeps of a recording.

        Parameters
        ----------
        n : int
            Which clip.

        Returns
        -------
        Heard
            As `inspection.hear` made it when the recording was read.
        """
        return inspection.Heard.from_bytes(self._shelf.heard(int(self._indices[n])))

    def sound(self, n: int) -> np.ndarray:
        """Read a recording itself, for who changes its sound.

        Parameters
        ----------
        n : int
            Which clip.

        Returns
        -------
        ndarray (N,), float32
            Mono samples at the rate at which sound is analysed.

        Raises
        ------
        AudioError
            If the recording cannot be used.
        DataError
            If it is another than the one whose features are kept.
        """
        return self._shelf.sound(int(self._indices[n]))

    def take(self, indices: Sequence[int] | np.ndarray) -> Self:
        """Select some of the clips, such as those to train on.

        Parameters
        ----------
        indices : sequence of int
            Which ones.

        Returns
        -------
        FeatureStore
            Those, in that order. Nothing is read or copied.
        """
        return type(self)(self._shelf, self._indices[np.asarray(indices, np.intp)])

    @property
    def lengths(self) -> np.ndarray:
        """Steps T of every clip, int64 (N,); of those that cannot be used, 0. Waits until all are known."""
        self._shelf.wait()
        return np.asarray(self._shelf.records["steps"][self._indices], np.int64)

    @property
    def bad(self) -> dict[int, AudioError]:
        """Why some of the clips cannot be used, by index. Waits until all are known."""
        self._shelf.wait()
        errors = self._shelf.errors
        return {n: errors[int(m)] for n, m in enumerate(self._indices) if int(m) in errors}

    def close(self) -> None:
        """End what goes on in the background. What is on disk already stays."""
        self._shelf.close()

    def __reduce__(self) -> Any:
        """Go to another process: it reads what is on disk now. Waits until all is known."""
        self._shelf.wait()
        return _from_disk, (self._shelf.on_disk(), self._indices)


def open_store(
    folder: str | os.PathLike[str],
    recordings: Sequence[str | os.PathLike[str]],
    settings: FeatureSettings,
    sample_rate: int,
    *,
    background: bool = False,
    num_threads: int | None = None,
    trust_times: bool = True,
    skip_bad: bool = False,
    verbose: bool = False,
) -> FeatureStore:
    """Open the features of recordings, and compute those that are not there yet.

    Parameters
    ----------
    folder : path
        Where features are kept, those of any settings; it is made if need be, and may be deleted at any time
        but while it is used. Several processes may use it.
    recordings : sequence of path
        Files.
    settings : FeatureSettings
        How sound becomes features.
    sample_rate : int
        Rate in Hz at which sound is analysed.
    background : bool, default False
        Return at once, and compute in threads. Who asks for a clip that nobody has begun computes it; who
        asks for one that is being computed waits. What is returned is the same.
    num_threads : int, optional
        How many threads compute. By default as many as there are CPUs, and one less in the background.
    trust_times : bool, default True
        Do not read a recording again whose size, times and inode are as they were when it was last read.
    skip_bad : bool, default False
        Go on without recordings that cannot be used; `FeatureStore.bad` tells which they are, and why.
    verbose : bool, default False
        Show progress on stderr.

    Returns
    -------
    FeatureStore
        One array for each recording.

    Raises
    ------
    AudioError
        If a recording cannot be used. In the background: when it is asked for.
    DataError
        If the folder cannot be written or its disk is full.
    SettingError
        If the number of threads is none.
    """
    if num_threads is not None:
        check_number("num_threads", num_threads, whole=True, above=0)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    helpers = (num_threads or max(1, cpus - background)) - (not background)
    shelf = _Shelf(Path(folder), [os.fspath(path) for path in recordings], settings, sample_rate, trust_times)
    shelf.start(helpers)
    if not background:
        shelf.work(verbose)
        if shelf.errors and not skip_bad:
            raise shelf.errors[min(shelf.errors)]
    return FeatureStore(shelf, np.arange(len(recordings)))


def _from_disk(shelf: tuple[Any, ...], indices: np.ndarray) -> FeatureStore:
    return FeatureStore(_Shelf(*shelf), indices)


class _Log:
    """The two files of one kind of features: frames, and records that say whose they are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record_of: dict[bytes, Any] = {}
        self._read_to = 0  # of the index, in bytes
        self._writing = threading.Lock()
        self._end = -1  # of the frames; known to who holds the lock
        with _in_one_line(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._data = self._open(folder / "features.f32")
            self._index = self._open(folder / "index")
        # Not at exit: threads may be writing still, and what a number means may have changed by then.
        weakref.finalize(self, _close, self._data, self._index).atexit = False
        self.refresh()

    @staticmethod
    def _open(path: Path) -> int:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM):
                raise
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # enough, if all features are there

    def refresh(self) -> None:
        """Take in the records that were added since, by whomever, but for those that make no sense."""
        size = os.fstat(self._index).st_size
        if size < self._read_to:  # somebody cut it
            self._read_to, self.record_of = 0, {}
        records = np.zeros((size - self._read_to) // RECORD.itemsize, RECORD)
        if not _read_into(self._index, records, self._read_to):
            return  # somebody cuts it just now
        self._read_to += records.nbytes
        there = os.fstat(self._data).st_size
        for record in records:
            end = int(record["offset"]) + _n_bytes(record) + int(record["heard"])
            if _own_checksum(record) == record["own_checksum"] and end <= there:
                self.record_of[record["contents"].tobytes()] = record

    def read(self, record: Any) -> np.ndarray | None:
        """Read the frames of a record; None if they are not what was written."""
        frames = np.empty((int(record["steps"]), int(record["width"])), np.float32)
        whole = _read_into(self._data, frames, int(record["offset"]))
        return frames if whole and zlib.crc32(frames.data) == record["checksum"] else None

    def read_heard(self, record: Any) -> bytes | None:
        """Read what is kept for inspection; None if it is not what was written."""
        raw = np.empty(int(record["heard"]), np.uint8)
        whole = _read_into(self._data, raw, int(record["offset"]) + _n_bytes(record))
        return raw.tobytes() if whole and zlib.crc32(raw.data) == record["heard_checksum"] else None

    @contextmanager
    def locked(self, give_up: Callable[[], bool] = lambda: False) -> Iterator[bool]:
        """Be the only process that writes, for the length of a block; or give up waiting for it: False."""
        with _in_one_line(self.folder):
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with _in_one_line(self.folder):
                while not (mine := _lock(lock)) and not give_up():
                    time.sleep(LOOK_S)
                if mine:
                    self.refresh()
                    os.ftruncate(self._index, self._read_to)  # a record that was cut short
                    self._end = os.fstat(self._data).st_size
            yield mine
        finally:
            os.close(lock)  # which unlocks

    def append(self, contents: bytes, features: np.ndarray, heard: bytes) -> Any:
        """Write what is kept of a recording. Only to be called while the lock is held."""
        frames = np.ascontiguousarray(features, np.float32)
        record = np.zeros((), RECORD)
        record["contents"] = np.void(contents)
        record["steps"], record["width"] = frames.shape
        record["heard"] = len(heard)
        record["checksum"], record["heard_checksum"] = zlib.crc32(frames.data), zlib.crc32(heard)
        with self._writing, _in_one_line(self.folder):
            record["offset"] = self._end
            record["own_checksum"] = _own_checksum(record[()])
            _write(self._data, frames.tobytes() + heard, self._end)
            self._end += frames.nbytes + len(heard)
            _write(self._index, record.tobytes(), self._read_to)
            self._read_to += RECORD.itemsize
            self.record_of[contents] = record[()]
        return record[()]


class _Shelf:
    """What a store and its parts share: recordings, what is known of each, and who computes."""

    def __init__(
        self,
        folder: Path,
        recordings: list[str],
        settings: FeatureSettings,
        sample_rate: int,
        trust: bool,
        known: tuple[np.ndarray, dict[int, AudioError]] | None = None,
    ) -> None:
        self.folder, self.recordings, self.settings = folder, recordings, settings
        self.sample_rate, self.trust = sample_rate, trust
        self.log = _Log(folder / store_key(settings, sample_rate))
        self.files = _Files(folder / "files", trust)
        self.records = np.zeros(len(recordings), RECORD)
        self.state = np.full(len(recordings), WAITING, np.uint8)
        self.errors: dict[int, AudioError] = {}
        self._failure: BaseException | None = None
        self._closed = False
        self._locked = False
        self._changed = threading.Condition()
        self._next = 0
        self._threads: list[threading.Thread] = []
        self._keeper: threading.Thread | None = None
        if known is not None:  # by another process, which has seen to all of them
            self.records, self.errors = known
            self.state[:] = DONE
            self._left = 0
            return
        for n, path in enumerate(recordings):
            contents = self.files.remembered(path)
            record = None if contents is None else self.log.record_of.get(contents)
            if record is not None:
                self.records[n], self.state[n] = record, DONE
        self._left = int((self.state < DONE).sum())

    def on_disk(self) -> tuple[Any, ...]:
        """Give what another process makes the same of, once all is there."""
        what = self.folder, self.recordings, self.settings, self.sample_rate, self.trust
        return *what, (self.records, self.errors)

    def _all_done(self) -> bool:
        return self._left == 0

    # Computing.

    def start(self, threads: int) -> None:
        """Start threads that compute what is missing, and one that holds the lock for them."""
        if self._all_done():
            return
        self._threads = [
            threading.Thread(target=self._help, name=f"features-{n}", daemon=True) for n in range(threads)
        ]
        self._keeper = threading.Thread(target=self._keep_lock, name="features-lock", daemon=True)
        for thread in (self._keeper, *self._threads):
            thread.start()

    def work(self, verbose: bool) -> None:
        """Compute with the threads, until all is there."""
        with progress_bar(len(self.recordings), "features", "clips", verbose) as bar:
            # What is there already says nothing about the time that is left.
            bar.initial = bar.n = bar.last_print_n = len(self.recordings) - self._left
            try:
                self._until_locked()
                with one_blas_thread():
                    while (n := self._begin()) is not None:
                        self._compute(n)
                        bar.update(len(self.recordings) - self._left - bar.n)
                self.wait()
                bar.update(len(self.recordings) - bar.n)
            except BaseException:  # Ctrl-C, too
                self.close()
                raise

    def wait(self) -> None:
        """Wait until every clip is there, or cannot be used."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure or self._closed or self._all_done())
        self._check()
        if self._keeper is not None:
            self._keeper.join()

    def close(self) -> None:
        """End the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        if self._keeper is not None:
            self._keeper.join()

    def _keep_lock(self) -> None:
        try:
            with self.log.locked(lambda: self._closed) as mine:
                with self._changed:
                    self._locked = mine
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._failure or self._closed or self._all_done())
                for thread in self._threads:
                    thread.join()  # one may be writing still
                self.files.save()
        except BaseException as error:
            self._fail(error)

    def _help(self) -> None:
        try:
            self._until_locked()
            with one_blas_thread():
                while (n := self._begin()) is not None:
                    self._compute(n)
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closed and not self._all_done():
            raise DataError(f"{self.log.folder}: this store was closed before all features were there")

    def _until_locked(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._locked or self._failure or self._closed or self._all_done())

    def _begin(self, n: int | None = None) -> int | None:
        """Choose a clip that nobody has begun, and begin it; None if there is none."""
        with self._changed:
            if self._failure or self._closed:
                return None
            if n is None:
                while self._next < len(self.state) and self.state[self._next] != WAITING:
                    self._next += 1
                n = self._next
            if n == len(self.state) or self.state[n] != WAITING:
                return None
            self.state[n] = BEGUN
            return n

    def _compute(self, n: int) -> None:
        """See to it that clip n is there. Its state is told at the end, whatever happens."""
        state = WAITING
        try:
            path = self.recordings[n]
            try:
                contents = self.files.contents(path)
                record = self.log.record_of.get(contents)
                if record is None:
                    record = self.log.append(contents, *self._extract(path, contents))
                self.records[n], state = record, DONE
            except AudioError as error:
                self.errors[n], state = error, BAD
        finally:
            with self._changed:
                self.state[n] = state
                self._left -= state >= DONE
                self._changed.notify_all()

    def _extract(self, path: str, contents: bytes) -> tuple[np.ndarray, bytes]:
        """Make the features of a recording, and what inspection keeps of it, in one reading."""
        kept: list[bytes] = []

        def note(name: str, samples: np.ndarray, native_rate: int) -> None:
            kept.append(inspection.hear(samples, native_rate).to_bytes())

        extraction = extract_features([path], self.settings, self.sample_rate, False, note)
        for error in extraction.bad:
            raise error
        if self.files.contents(path) != contents:
            raise AudioError(f"{path}: changed while it was read; try again when it is complete")
        return extraction.features[0], kept[0]

    # Reading.

    def features(self, n: int) -> np.ndarray:
        """Read the features of clip n; compute them if nobody does."""
        self._have(n)
        features = self.log.read(self.records[n])
        return self._mended(n)[0] if features is None else features

    def heard(self, n: int) -> bytes:
        """Read what inspection keeps of clip n, likewise."""
        self._have(n)
        heard = self.log.read_heard(self.records[n])
        return self._mended(n)[1] if heard is None else heard

    def sound(self, n: int) -> np.ndarray:
        """Read the recording of clip n."""
        self._have(n)
        path = self.recordings[n]
        _, samples = samples_of(path, n, self.settings, self.sample_rate)
        if self.files.contents(path) != self.records[n]["contents"].tobytes():
            raise DataError(f"{path}: changed since its features were computed; begin anew")
        return samples

    def _have(self, n: int) -> None:
        """See to it that clip n can be read."""
        if self.state[n] < DONE:
            self._until_locked()
            if self._begin(n) is not None:
                self._compute(n)
            with self._changed:
                self._changed.wait_for(lambda: self._failure or self._closed or self.state[n] >= DONE)
                if self.state[n] < DONE:
                    self._check()
        if n in self.errors:
            raise self.errors[n]

    def _mended(self, n: int) -> tuple[np.ndarray, bytes]:
        """Compute again what was damaged on disk."""
        path = self.recordings[n]
        contents = self.records[n]["contents"].tobytes()
        if self.files.contents(path) != contents:
            raise DataError(
                f"{self.log.folder / 'features.f32'}: the features of {path} are damaged, and it has changed "
                "since; open the store anew"
            )
        self.wait()  # until then the lock is held for what is missing
        features, heard = self._extract(path, contents)
        with self.log.locked():
            self.records[n] = self.log.append(contents, features, heard)
        return features, heard


class _Files:
    """What the bytes of each file hash to, as long as nobody writes to it."""

    def __init__(self, path: Path, trust: bool) -> None:
        self.path = path
        self.known: dict[str, list[Any]] = {}  # size, times, inode, and the hash
        self.changed = False
        if trust:
            self.known = self._load()

    def _load(self) -> dict[str, list[Any]]:
        """Read what is remembered; what was damaged is forgotten."""
        try:
            checksum, text = self.path.read_text(encoding="utf-8").split("\n", 1)
        except (OSError, ValueError):
            return {}
        return dict(json.loads(text)) if checksum == _digest(text) else {}

    def remembered(self, path: str) -> bytes | None:
        """Tell what a file hashes to, if that is known without reading it."""
        try:
            return self._if_unchanged(path, _identity(path))
        except OSError:
            return None

    def _if_unchanged(self, path: str, identity: list[int]) -> bytes | None:
        known = self.known.get(str(Path(path).absolute()))
        if known is None or known[:-1] != identity:
            return None
        return bytes.fromhex(known[-1])

    def contents(self, path: str) -> bytes:
        """Hash a file, unless it is as it was."""
        try:
            identity = _identity(path)
            if (contents := self._if_unchanged(path, identity)) is not None:
                return contents
            now = time.time_ns()
            with open(path, "rb") as file:  # noqa: PTH123 (of a hundred thousand)
                contents = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=HASH_BYTES)).digest()
        except OSError as error:
            if Path(path).exists():
                raise AudioError(
                    f"{path}: cannot be read ({error.strerror}); mend its permissions, or remove it"
                ) from None
            raise AudioError(f"{path}: no such file") from None
        if identity == _identity(path) and max(identity[1:3]) < now - FRESH_NS:
            self.known[str(Path(path).absolute())] = [*identity, contents.hex()]
            self.changed = True
        return contents

    def save(self) -> None:
        """Remember for next time. What another process found out meanwhile is kept."""
        if self.changed:
            with _in_one_line(self.path.parent), atomic_write(self.path) as part:
                text = json.dumps(self._load() | self.known)
                part.write_text(f"{_digest(text)}\n{text}", encoding="utf-8")
            self.changed = False


def store_key(settings: FeatureSettings, sample_rate: int) -> str:
    """Name what features depend on, but for the recordings.

    Parameters
    ----------
    settings : FeatureSettings
        How sound becomes features.
    sample_rate : int
        Rate in Hz at which sound is analysed.

    Returns
    -------
    str
        A hash of settings and rate; of the sources of the packages `features` and `simd`, and of
        `inspection`; of our version, Python's and the libraries'; and of the CPU: kernels differ in last bits
        from one to the next.
    """
    versions = {"lstm-scratch": __version__, "python": sys.version}
    versions["libsndfile"] = soundfile.__libsndfile_version__
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = ""
    cpu = [platform.machine(), *(os.environ.get(f"NUMBA_{name}", "") for name in NUMBA_TARGET)]
    about = Path("/proc/cpuinfo")
    if about.is_file():
        cpu += sorted({line for line in about.read_text().splitlines() if line.startswith(CPU_LINES)})
    values = (FORMAT, settings_to_dict(settings), sample_rate, versions, cpu)
    key = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for package in (FEATURES_FOLDER, Path(simd.__file__).parent):
        for source in sorted(package.rglob("*.py")):
            key.update(source.read_bytes())
    key.update(Path(inspection.__file__).read_bytes())
    return key.hexdigest()[:16]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _identity(path: str) -> list[int]:
    """Tell what changes when a file is written to, or replaced."""
    status = Path(path).stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def _n_bytes(record: Any) -> int:
    return 4 * int(record["steps"]) * int(record["width"])


def _own_checksum(record: Any) -> int:
    return zlib.crc32(record.tobytes()[: -RECORD["own_checksum"].itemsize])


def _read_into(file: int, array: np.ndarray, offset: int) -> bool:
    """Fill an array; False, if the file ends before."""
    view = memoryview(array.data).cast("B")
    while view:
        n = os.preadv(file, [view], offset)
        if n == 0:
            return False
        view, offset = view[n:], offset + n
    return True


def _write(file: int, raw: bytes, offset: int) -> None:
    view = memoryview(raw)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _close(*files: int) -> None:
    for file in files:
        os.close(file)


@contextmanager
def _in_one_line(folder: Path) -> Iterator[None]:
    """Say what the system refuses in one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = "the disk is full; make room, or name a folder on another disk"
        else:
            fix = f"features cannot be written there ({error.strerror}); name another folder"
        raise DataError(f"{folder}: {fix}") from None
