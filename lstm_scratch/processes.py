"""Jobs in processes of their own, for work that a second thread hardly speeds up: whole trainings.

Processes are spawned, not forked: a fork takes none of the parent's threads along, but their locks.
"""

import contextlib
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from lstm_scratch.errors import SettingError

THREADS_VARIABLE = "LSTM_SCRATCH_NUM_THREADS"


@dataclass(frozen=True)
class _Answer:
    """What became of a job."""

    result: Any
    error: Exception | None
    warned: list[tuple[str, type[Warning], str, int]]  # text, category, file and line


def usable_cpus() -> int:
    """Count the CPUs that this process may run on.

    Returns
    -------
    int
        At least 1.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(
    prepare: Callable[..., Callable[[Any], Any]],
    arguments: tuple[Any, ...],
    jobs: Sequence[Any],
    processes: int,
    tell: Callable[[Any], None] = lambda result: None,
) -> list[Any]:
    """Do jobs in parallel processes, each of which has one thread.

    An interruption (Ctrl-C) is this process's alone: it ends the others.

    Parameters
    ----------
    prepare : callable
        Called once in each process, with `arguments`; it returns the function that does a job. It is found
        by its name, and all that passes between processes is pickled.
    arguments : tuple
        Of `prepare`.
    jobs : sequence
        What that function is given, one after the other.
    processes : int
        How many at once, at the most.
    tell : callable, optional
        Takes each result as soon as it and all before it are there.

    Returns
    -------
    list
        The results, in the order of the jobs.

    Raises
    ------
    SettingError
        If a process was killed.
    Exception
        What a job raised, with its traceback as a note: of several jobs, the first in their order.
    """
    context = get_context("spawn")
    workers: dict[Connection, Any] = {}
    busy: dict[Connection, int] = {}  # with which job
    answers: dict[int, _Answer] = {}
    results: list[Any] = []
    registry: dict[Any, Any] = {}  # so that what every process warns of is said once
    waiting = iter(range(len(jobs)))
    try:
        # Ctrl-C reaches every process of a terminal. A mask is inherited: whoever is started behind it is
        # never interrupted, not even while it starts; here, a Ctrl-C that falls into it comes afterwards.
        resource_tracker.ensure_running()  # which spawning does anyway, but it lifts the mask
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(min(processes, len(jobs))):
                ours, theirs = context.Pipe()
                worker = context.Process(target=_serve, args=(theirs, prepare, arguments), daemon=True)
                worker.start()
                theirs.close()
                workers[ours] = worker
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        idle = list(workers)
        while len(results) < len(jobs):
            failed = any(answer.error is not None for answer in answers.values())
            while idle and not failed and (n := next(waiting, None)) is not None:
                pipe = idle.pop()
                busy[pipe] = n
                _hand_over(pipe, jobs[n])
            ready = wait(list(busy))
            for pipe in [pipe for pipe in busy if pipe in ready]:
                answers[busy.pop(pipe)] = _receive(pipe)
                idle.append(pipe)
            while (answer := answers.pop(len(results), None)) is not None:
                for text, category, file, line in answer.warned:
                    warnings.warn_explicit(text, category, file, line, registry=registry)
                if answer.error is not None:
                    raise answer.error
                results.append(answer.result)
                tell(answer.result)
    finally:
        for worker in workers.values():
            worker.terminate()
        for pipe, worker in workers.items():
            worker.join()
            pipe.close()
    return results


def _hand_over(pipe: Connection, job: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # it was killed before, which `_receive` is going to tell
        pipe.send(job)


def _receive(pipe: Connection) -> _Answer:
    try:
        answer: _Answer = pipe.recv()
    except (EOFError, ConnectionResetError):
        raise SettingError(
            "a process was killed, perhaps for want of memory; try again with fewer (--processes 1)"
        ) from None
    return answer


def _serve(
    pipe: Connection, prepare: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]
) -> None:
    """Do jobs for as long as there is somebody to ask for them: the main function of a process."""
    os.environ[THREADS_VARIABLE] = "1"  # the other CPUs have processes of their own
    work: Callable[[Any], Any] | None = None
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        result, error = None, None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                work = work or prepare(*arguments)
                result = work(job)
            except Exception as raised:  # of whatever kind: it is raised where the answers are wanted
                error = raised
                error.add_note(f"In a process of its own:\n{''.join(traceback.format_exception(raised))}")
        warned = [(str(w.message), w.category, w.filename, w.lineno) for w in caught]
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it: whoever asked was killed
            pipe.send(_Answer(result, error, warned))
