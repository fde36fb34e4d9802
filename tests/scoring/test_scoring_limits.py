"""Limits on time and memory in any thread and process; no process is left running; the caller's alarm is unchanged."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from hint_grpo.machine.errors import UserError
from hint_grpo.scoring import pool, reset_stats, score, stats
from hint_grpo.scoring.worker import MEMORY_LIMIT_BYTES

CASES = [
    ("<think>a</think><answer>4√3</answer>", "4√{3}"),
    ("<think>a</think><answer>4</answer>", "4√{3}"),
    ("<think>a</think><answer>\\frac{\\pi}{8}</answer>", "\\frac{1}{8}π"),
    ("<think>a</think><answer>72</answer>", "72°"),
    ("<think>a = 72</think><answer>71</answer>", "72°"),
]
EXPECTED = [1.0, 0.0, 1.0, 1.0, 0.0]
SLOW = "<think>a</think><answer>10^{10^{10}}</answer>"
HOSTILE = {
    "tower": "10^10^10",
    "LaTeX tower": "10^{10^{10}}",
    "great exponent": "1e999999999",
    "nested fractions": "\\frac{1}{" * 500 + "2" + "}" * 500,
    "nested roots": "\\sqrt{" * 70 + "2" + "}" * 70,
    "nested brackets": "(" * 240 + "1" + ")" * 240,
    "long": "1+" * 10_000,
    "many digits": "7" * 200_000,
    "surrogates and zeros": "\ud800\x00" * 100,
    "tags": "<answer><think>" * 2_000,
}


@pytest.fixture
def two_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two fresh workers that wait for their first request, and counters at zero."""
    fresh = pool.WorkerPool()
    workers = [pool.Worker(), pool.Worker()]
    for worker in workers:
        worker.wait_until_ready()
        fresh._give_back(worker)
    pool._pool.close()
    monkeypatch.setattr(pool, "_pool", fresh)
    reset_stats()
    yield
    fresh.close()


def _scores(case: tuple[str, str]) -> float:
    return score(*case)


@pytest.mark.parametrize("protocol", ["strict", "paper"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_answers_score_zero_and_do_not_raise(kind: str, protocol: str):
    text = HOSTILE[kind]
    # In LaTeX, math_verify parses each of them.
    assert score(f"<think>a</think><answer>${text}$</answer>", "4√{3}", protocol) == 0.0
    assert score("<think>a</think><answer>4√3</answer>", text, protocol) == 0.0
    assert [score(*case) for case in CASES] == EXPECTED


def test_a_timeout_is_counted_and_the_next_answer_is_compared():
    reset_stats()
    assert score(SLOW, "5√{7}") == 0.0
    assert stats()["timeouts"] == 1
    assert score("<answer>5√7</answer>", "5√{7}") == 1.0
    assert stats()["crashes"] == 0


def test_an_oversized_answer_is_counted():
    reset_stats()
    assert score(f"<answer>{'word ' * 200} 72</answer>", "72") == 0.0
    assert score("7" * 1_000_001, "7", "paper") == 0.0
    assert stats()["oversized"] == 2


def test_same_scores_in_threads():
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(_scores, CASES * 4)) == EXPECTED * 4


def test_a_hostile_answer_delays_no_other_thread(two_workers: None):
    slow = threading.Thread(target=score, args=(SLOW, "3√{11}"))
    slow.start()
    _wait_until(lambda: any(comparer.cpu_times().user > 0.2 for comparer in _comparers()))
    # Decided by the other worker while the first one is still busy: its time-out is not there yet.
    assert score("<answer>3√11</answer>", "3√{11}") == 1.0
    assert stats()["timeouts"] == 0
    slow.join()
    assert stats()["timeouts"] == 1


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_same_scores_in_other_processes(method: str):
    assert [score(*case) for case in CASES] == EXPECTED  # a worker exists before the fork
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as processes:
        assert list(processes.map(_scores, CASES)) == EXPECTED
        assert list(processes.map(_scores, [(SLOW, "72°")])) == [0.0]
    assert [score(*case) for case in CASES] == EXPECTED


def test_the_callers_alarm_and_handler_stay():
    def handler(*_: object) -> None:
        raise AssertionError("the alarm is a thousand seconds away")

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        for protocol in ("strict", "paper"):
            assert score("<think>a</think><answer>$6\\sqrt{2}$</answer>", "$\\sqrt{72}$", protocol) == 1.0
        assert score(SLOW, "6√{2}") == 0.0
        assert signal.getsignal(signal.SIGALRM) is handler
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_a_blocked_alarm_does_not_disarm_the_limits():
    # Signals that the caller blocks or ignores are handed down to its children.
    blocked = {signal.SIGALRM, signal.SIGPROF}
    script = (
        "import signal; from hint_grpo.scoring import score, stats\n"
        f"signal.pthread_sigmask(signal.SIG_BLOCK, {sorted(map(int, blocked))})\n"
        "signal.signal(signal.SIGPROF, signal.SIG_IGN)\n"
        f"print(score({SLOW!r}, '5'), stats()['timeouts'])"
    )
    assert _python(script).split() == ["0.0", "1"]


def test_workers_are_limited_in_memory_and_the_caller_is_not(two_workers: None):
    before = resource.getrlimit(resource.RLIMIT_AS)
    assert score("<answer>7√7</answer>", "7√{7}") == 1.0
    limits = [comparer.rlimit(psutil.RLIMIT_AS) for comparer in _comparers()]
    assert limits == [(MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES)] * 2
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_workers_killed_while_idle_are_replaced_and_nothing_is_lost(two_workers: None):
    for kill in (_comparers, _workers):
        for process in kill():
            process.kill()
        root = 3 if kill is _comparers else 5
        assert score(f"<answer>7√{root}</answer>", f"7√{{{root}}}") == 1.0
        assert score(f"<answer>7√{root}</answer>", "7√{2}") == 0.0
    assert (stats()["crashes"], stats()["timeouts"]) == (0, 0)


def test_a_worker_killed_at_work_is_counted(two_workers: None):
    thread = threading.Thread(target=score, args=(SLOW, "9√{7}"))
    thread.start()
    _wait_until(lambda: any(comparer.cpu_times().user > 0.2 for comparer in _comparers()))
    for comparer in _comparers():
        comparer.kill()
    thread.join()
    assert (stats()["crashes"], stats()["timeouts"]) == (1, 0)
    assert score("<answer>9√7</answer>", "9√{7}") == 1.0


@pytest.mark.parametrize("forked_sibling", [False, True])
def test_nothing_outlives_the_process_that_scores(forked_sibling: bool):
    script = (
        "import os, sys, time, psutil; from hint_grpo.scoring import score\n"
        "assert score('<answer>4√3</answer>', '4√{3}') == 1.0\n"
        "workers = psutil.Process().children(recursive=True)\n"
        # A child that keeps the connection open, as one forked by a C library would.
        f"sibling = {forked_sibling} and os.fork()\n"
        f"if {forked_sibling} and sibling == 0: time.sleep(600)\n"
        "print(sibling or '', *(process.pid for process in workers), flush=True)\n"
        "time.sleep(600)"
    )
    process = _start(script)
    line = process.stdout.readline()
    pids = [int(pid) for pid in line.split()]
    process.kill()
    process.wait()
    try:
        workers = pids[1:] if forked_sibling else pids
        assert len(workers) == 2  # the worker and its child
        _wait_until(lambda: not any(map(psutil.pid_exists, workers)))
    finally:
        if forked_sibling:
            os.kill(pids[0], signal.SIGKILL)


def test_a_worker_that_cannot_start_is_an_error_with_a_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    # A math_verify that cannot be imported comes first on the path of the new worker.
    (tmp_path / "math_verify.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(pool, "_pool", pool.WorkerPool())
    with pytest.raises(UserError, match="pip install math-verify"):
        score("<answer>11√3</answer>", "11√{3}")


def test_scoring_imports_nothing_heavy():
    script = (
        "import sys, hint_grpo.scoring.rewards\n"
        "print({'torch', 'vllm', 'sympy', 'math_verify', 'transformers', 'numpy'} & set(sys.modules))"
    )
    assert _python(script) == "set()"


def _workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "hint_grpo.scoring.worker" in child.cmdline()]


def _comparers() -> list[psutil.Process]:
    return [comparer for worker in _workers() for comparer in worker.children()]


def _start(script: str) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", script]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "PYTHONUTF8": "1"})


def _python(script: str) -> str:
    process = _start(script)
    output, _ = process.communicate()
    assert process.returncode == 0
    return output.strip()


def _wait_until(condition: Callable[[], bool], limit_s: float = 60) -> None:
    """Polls, because the time depends on the machine."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)
