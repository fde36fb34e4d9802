"""Stage clocks, the watchdog, and the two reasons for which a run stops itself."""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest

from hint_grpo.rollout.access import server_session
from hint_grpo.rollout.serve import with_needed_flags
from hint_grpo.training.monitoring import (
    NAMES,
    GapWatch,
    Heartbeat,
    RewardWatch,
    SignalWatch,
    Stages,
    TrainingStopped,
    Watchdog,
    describe,
    hanging,
)


def test_a_stage_inside_another_stops_its_clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stages = Stages()
    with stages("update"):
        now[0] += 1
        with stages("generate"):
            now[0] += 10
        with stages("policy"):
            now[0] += 5
        now[0] += 2
    stages.add("score", 0.5)
    now[0] += 100
    assert stages.take() == dict.fromkeys(NAMES, 0.0) | {"update": 3, "generate": 10, "policy": 5, "score": 0.5}
    assert stages.take() == dict.fromkeys(NAMES, 0.0)
    assert stages.num_changes == 6


def test_a_stage_that_raises_ends_its_clock():
    stages = Stages()
    with pytest.raises(ZeroDivisionError), stages("policy"):
        _ = 1 / 0
    assert stages.name == "other"


def test_who_hangs_is_the_rank_least_far():
    signs = [
        Heartbeat(0, "policy", 12, 100.0, 159.0),
        Heartbeat(1, "generate", 11, 90.0, 160.0),
        Heartbeat(2, "policy", 12, 99.0, 158.0),
    ]
    assert hanging(signs, 160.0, 75.0) == []
    hung = hanging(signs, 170.0, 75.0)
    assert [sign.rank for sign in hung] == [1]
    text = describe(hung, signs, 170.0)
    assert "rank 1 in stage 'generate' for 80 s" in text
    assert "waiting for it: rank 0, 2" in text
    assert "no heartbeat for 100 s" in describe([Heartbeat(1, "generate", 11, 90.0, 70.0)], signs, 170.0)
    assert hanging([], 170.0, 75.0) == []


def test_watchdogs_of_two_ranks_name_the_one_that_hangs(tmp_path, capfd):
    stages = [Stages(), Stages()]
    dogs = [Watchdog(stages[rank], tmp_path / ".stages", rank, 2, timeout_s=0.4) for rank in (0, 1)]
    release = threading.Event()

    def rank(number: int) -> None:
        with stages[number]("generate"):
            if number == 1:
                release.wait(20)
        with stages[number]("policy"):
            release.wait(20)

    threads = [threading.Thread(target=rank, args=(number,)) for number in (0, 1)]
    for part in (*threads, *dogs):
        part.start()
    said, deadline = "", time.monotonic() + 15
    while "is here:" not in said and time.monotonic() < deadline:
        time.sleep(0.05)
        said += capfd.readouterr().err
    release.set()
    for thread in threads:
        thread.join()
    for dog in dogs:
        dog.stop()
    assert "watchdog: no progress: rank 1 in stage 'generate'" in said
    assert "waiting for it: rank 0" in said
    assert "rank 1 is here:" in said
    assert "release.wait" in said or "wait" in said  # its stack
    assert "rank 0 is here:" not in said
    assert not (tmp_path / ".stages").exists()


def test_a_run_without_usable_rewards_stops_with_the_reason():
    watch = RewardWatch(3)
    nothing = [math.nan, math.inf, -math.inf]
    assert watch.look(nothing) == 3
    assert watch.look(nothing) == 3
    assert watch.look([math.nan, 0.0]) == 1  # one is enough to start counting anew
    watch.look(nothing)
    watch.look(nothing)
    with pytest.raises(TrainingStopped, match="3 steps in a row"):
        watch.look(nothing)


def test_a_growing_gap_warns_then_stops():
    watch = GapWatch(max_gap=0.05)
    assert [watch.look(gap, step) for step, gap in enumerate([0.004, 0.005, 0.004, 0.003, 0.004])] == [None] * 5
    # allowed: 3 x the first steps' median + 0.01 = 0.022
    assert watch.look(0.0219, 5) is None
    assert watch.look(0.0221, 6) == (
        "step 6: vLLM's and the trainer's log-probabilities differ by 0.0221 per token (at first 0.0040): the new weights "
        "may not have arrived in vLLM"
    )
    assert watch.look(math.nan, 7) is None  # no vLLM token to compare
    assert watch.look(0.004, 8) is None
    for step in range(4):
        assert "may not have arrived" in watch.look(0.5, 10 + step)
    with pytest.raises(TrainingStopped, match="5 steps in a row"):
        watch.look(0.5, 14)


def test_a_gap_that_is_wide_from_the_first_step_warns_then_stops():
    watch = GapWatch(max_gap=0.05)
    assert watch.look(0.03, 1) is None  # bfloat16
    watch = GapWatch(max_gap=0.05)
    for step in range(1, 5):
        assert "differ by 0.0800 per token (--max_logp_gap 0.05) from the first step on" in watch.look(0.08, step)
    with pytest.raises(
        TrainingStopped, match=r"other prompts .* for 5 steps in a row; --stop_on_logp_gap false continues"
    ):
        watch.look(0.08, 5)


def test_the_bound_holds_where_the_first_steps_would_allow_more():
    watch = GapWatch(max_gap=0.05)
    assert [watch.look(0.03, step) for step in range(5)] == [None] * 5
    assert "at first 0.0300" in watch.look(0.06, 5)  # 3 x 0.03 + 0.01 = 0.10


def test_the_stop_can_be_a_warning():
    watch = GapWatch(max_gap=0.05, stop=False)
    warned = [step for step in range(1, 201) if watch.look(3.0, step)]
    assert warned == [1, 2, 3, 4, 5, 100, 200]


def prompts(*, valid=False, correct=False):
    return {"valid": valid, "level": 0, "accuracy": {"0": [1.0 if correct else 0.0] * 2}}


def test_steps_without_a_valid_group_are_warned_about():
    watch = SignalWatch(3)
    texts = {}
    for step in range(1, 12):
        watch.add([prompts(), prompts(correct=step == 2)], step)  # two batches in a step
        watch.add([prompts(valid=step == 4)], step)
        texts[step] = watch.end_step(step)
    assert [step for step, text in texts.items() if text] == [3, 7, 10]  # 4 was valid
    # steps 1 to 3: nine prompts, one of them correct
    assert texts[3].startswith(
        "no valid group for 3 steps in a row: nothing is learnt. 89% of the prompts had no correct"
    )
    assert texts[10].startswith("no valid group for 6 steps in a row: nothing is learnt. 100% of the prompts")
    assert "--scorer" in texts[3]


def test_too_easy_is_told_from_too_hard():
    watch = SignalWatch(2, last_valid_step=10)
    for step in (11, 12):
        watch.add([prompts(correct=True)], step)
    assert "100% of the prompts had a correct completion" in watch.end_step(12)
    assert "too easy" in watch.end_step(12)


def test_the_server_gets_what_the_trainer_needs_unless_the_user_said_otherwise():
    flags = with_needed_flags(["/models/m", "--port", "8000", "--logprobs_mode=raw_logprobs"], has_cuda=True)
    assert flags[:4] == ["--model", "/models/m", "--port", "8000"]
    assert "--logprobs-mode" not in flags
    assert flags[flags.index("--host") + 1] == "127.0.0.1"
    assert "--weight-transfer-config" in flags
    assert "--weight-transfer-config" not in with_needed_flags(["--model", "m"], has_cuda=False)


def test_a_connection_that_the_server_has_just_closed_is_opened_again():
    """The first request of the first connection is answered, the second meets its end; it is sent again on a new connection."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    num_connections = 0
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_one_request(connection):
            received = b""
            while not received.endswith(b"\r\n\r\n{}"):  # the headers and the body may arrive apart
                received += connection.recv(65536)
            connection.sendall(answer)

        def serve():
            nonlocal num_connections
            for is_first in (True, False):
                connection, _ = listener.accept()
                num_connections += 1
                with connection:
                    answer_one_request(connection)
                    if is_first:
                        connection.recv(65536)  # the second request has come: closed without a word

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        session = server_session(None)
        for _ in range(2):
            assert session.post(f"http://127.0.0.1:{listener.getsockname()[1]}/x", json={}, timeout=10).json() == {}
        thread.join(10)
        assert not thread.is_alive()
        assert num_connections == 2


@pytest.mark.parametrize("way", ["parent killed", "asked to stop", "asked twice"])
def test_a_guarded_command_ends_with_its_parent(tmp_path, way, repository):
    """The command has a child of its own that ignores SIGTERM: it goes too."""
    pids = tmp_path / "pids"
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    command = (
        "import subprocess, sys, os, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {stubborn!r}])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)"
    )
    guard = "[sys.executable, '-m', 'hint_grpo.machine.processes', str(os.getpid()), sys.executable, '-c', command]"
    parent = f"import os, subprocess, sys, time\ncommand = {command!r}\nsubprocess.Popen({guard})\ntime.sleep(600)"
    process = subprocess.Popen(
        [sys.executable, "-c", parent], cwd=repository, env=os.environ | {"PYTHONPATH": str(repository)}
    )
    try:
        deadline = time.monotonic() + 30
        while not (pids.exists() and len(pids.read_text().split()) == 2):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        family = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
        (guarding,) = [
            child for child in psutil.Process(process.pid).children() if "guard" in " ".join(child.cmdline())
        ]
        if way == "parent killed":
            process.send_signal(signal.SIGKILL)
        else:
            guarding.terminate()
            if way == "asked twice":  # while it ends what it guards
                time.sleep(0.3)
                guarding.terminate()
        _, alive = psutil.wait_procs([*family, guarding], timeout=30)
        alive = [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert not alive
    finally:
        process.kill()
        process.wait()
