"""Jobs in processes: each done once, told in order; errors, warnings and interruptions are this process's."""

import multiprocessing
import operator
import os
import subprocess
import sys
import time
import warnings
from functools import partial

import pytest

from lstm_scratch.errors import SettingError
from lstm_scratch.processes import THREADS_VARIABLE, in_processes, usable_cpus
from simd.threads import VARIABLE

# `partial(eval)` does jobs that are Python: what a process is to do has to be found by its name there.
OS, TIME = "__import__('os')", "__import__('time')"


def evaluate(jobs, processes=2, **options):
    before = multiprocessing.active_children()
    try:
        return in_processes(partial, (eval,), jobs, processes, **options)
    finally:
        assert multiprocessing.active_children() == before, "processes are ended in any case"


def test_results_are_told_and_returned_in_the_order_of_the_jobs():
    told = []
    jobs = [f"{TIME}.sleep(0.7) or 11", "22", "33", "44", "55"]
    assert evaluate(jobs, tell=told.append) == told == [11, 22, 33, 44, 55]


def test_what_prepares_is_given_its_arguments():
    assert in_processes(partial, (operator.sub, 10), [1, 4, 9], 2) == [9, 6, 1]


def test_there_are_as_many_processes_as_asked_for_and_no_more_than_jobs():
    pids = evaluate([f"{TIME}.sleep(0.2) or {OS}.getpid()"] * 6, 3)
    assert os.getpid() not in pids
    assert 2 <= len(set(pids)) <= 3
    assert len(set(evaluate([f"{OS}.getpid()"], 7))) == 1


def test_each_has_one_thread(monkeypatch):
    assert THREADS_VARIABLE == VARIABLE
    monkeypatch.setenv(VARIABLE, "5")
    job = "__import__('simd.threads').threads.thread_count()"
    assert evaluate([job, job]) == [1, 1]
    assert os.environ[VARIABLE] == "5"


def test_of_several_errors_the_first_in_the_order_of_the_jobs_is_raised_and_says_where():
    told = []
    jobs = ["1", f"{TIME}.sleep(0.5) or 1 / 0", "int('x')", "2"]
    with pytest.raises(ZeroDivisionError) as caught:
        evaluate(jobs, tell=told.append)
    assert (told, str(caught.value)) == ([1], "division by zero")
    assert "line 1, in <module>" in caught.value.__notes__[0]


def test_what_several_warn_of_is_said_once():
    job = "__import__('warnings').warn('red sky', UserWarning) or 3"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        assert evaluate([job] * 4) == [3] * 4
    assert [(str(w.message), w.category) for w in caught] == [("red sky", UserWarning)]


def test_a_process_that_is_killed_is_told():
    with pytest.raises(SettingError, match=r"a process was killed, .* \(--processes 1\)"):
        evaluate(["1", f"{OS}.kill({OS}.getpid(), 9)", f"{TIME}.sleep(60)"])


def test_where_nobody_waits_for_it_any_more_a_process_ends_without_a_word():
    code = f"""
from functools import partial
from lstm_scratch.processes import in_processes
if __name__ == "__main__":
    in_processes(partial, (eval,), ["print('begun', flush=True) or {TIME}.sleep(2)"], 2)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    process.kill()
    assert process.communicate(timeout=60) == ("", ""), "which end when the job's process does"


def test_an_interruption_ends_all_at_once():
    def interrupt(result):
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        evaluate(["1", f"{TIME}.sleep(600)"], tell=interrupt)
    assert time.monotonic() - start < 300


DEAF = """
import functools, signal
from lstm_scratch.processes import in_processes

job = "__import__('os').kill(__import__('os').getpid(), __import__('signal').SIGINT) or 8"
print(in_processes(functools.partial, (eval,), [job, job], 2), signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def test_they_are_deaf_to_ctrl_c_and_their_parent_is_not():
    """Also in a program that has started no process before."""
    process = subprocess.run([sys.executable, "-c", DEAF], capture_output=True, text=True, check=False)
    assert (process.stdout, process.stderr) == ("[8, 8] set()\n", "")


def test_usable_cpus_are_those_of_the_process():
    own = os.sched_getaffinity(0)
    assert usable_cpus() == len(own)
    os.sched_setaffinity(0, {min(own)})
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, own)
