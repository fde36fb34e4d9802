"""The paper's layout on a CPU: two ranks train under ZeRO-3, a vLLM server of the run's own samples for both."""

import json
import signal
import socket

import psutil
import pytest

from hint_grpo.rollout.access import TOKEN_VARIABLE, server_session

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow


def published(**more):
    return {
        "deepspeed": "local_scripts/zero3_offload.json",
        "use_vllm": "true",
        "vllm_mode": "server",
        "save_only_model": "true",
        "num_groups": 2,
        "max_completion_length": 64,
        **more,
    }


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def assert_only_the_run_may_use(run, port, out):
    """Its server answers 401 to everybody else, and the token stands on no command line and in no log."""
    (token,) = {process.environ().get(TOKEN_VARIABLE) for process in run.seen.values() if is_server(process)}
    url = f"http://127.0.0.1:{port}"
    for wrong in (None, "wrong", token[:-1]):
        with server_session(wrong) as session:
            for path in (
                "/collective_rpc",
                "/inference/v1/generate",
                "/reset_prefix_cache",
                "/init_weight_transfer_engine",
                "/update_weights",
                "/v1/completions",
            ):
                assert session.post(url + path, json={}, timeout=60).status_code == 401, path
            assert session.get(f"{url}/health", timeout=60).status_code == 401
    with server_session(token) as session:
        assert session.get(f"{url}/health", timeout=60).status_code == 200
    commands = [" ".join(process.cmdline()) for process in run.seen.values() if process.is_running()]
    log = (out / "vllm_server.log").read_text()
    assert token not in "".join([run.text(), log, *commands])
    assert "INFO" in log


def is_server(process):
    try:
        return process.is_running() and "hint_grpo.rollout.serve" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def history(out):
    rows = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [row for row in rows if "loss" in row]


def test_trains_says_who_does_what_and_takes_the_server_down(start, flags, tmp_path):
    out = tmp_path / "out"
    run = start(flags(out, **published(max_steps=4)), ranks=2)
    text = run.finish()
    port = run.server_port()
    assert f"2 process(es) on cpu; rollouts: this run's vLLM server at http://127.0.0.1:{port} on the CPU" in text
    assert "= 2 prompts, 2 completions each = 4 completions" in text
    assert any(
        "hint_grpo.rollout.serve" in " ".join(p.cmdline() if p.is_running() else []) for p in run.seen.values()
    ) or (len(run.seen) > 4)
    assert not run.left_over()
    assert not listens(port)
    rows = history(out)
    assert len(rows) == 4
    # new weights were sampled from: with stale ones the gap grows to 0.1 and more at this learning rate
    assert max(row["sampling/sampling_logp_difference/mean"] for row in rows) < 0.03
    for name in ("generate", "score", "policy", "reference", "update"):
        assert all(row[f"time/{name}"] > 0 for row in rows), name
    # Before the first step the server has the weights already.
    assert [row["time/sync"] > 0 for row in rows] == [False, True, True, True]


def test_sigterm_saves_a_checkpoint_that_can_be_resumed(start, flags, tmp_path):
    out = tmp_path / "out"
    more = published(max_steps=1000, save_steps=1000)
    run = start(flags(out, **more), ranks=2)
    run.wait_for(lambda: (out / "hint_ledger.jsonl").exists())
    port = run.server_port()
    run.process.send_signal(signal.SIGTERM)  # to torchrun, which passes it on
    run.wait_for_end()
    assert "stopped by a signal after step" in run.text()
    assert not run.left_over()
    assert not listens(port)
    (checkpoint,) = out.glob("checkpoint-*")
    assert list(checkpoint.glob("global_step*"))  # with the optimizer, though the run saves weights alone
    assert not (out / "model.safetensors").exists()
    step = int(checkpoint.name.removeprefix("checkpoint-"))
    more |= {"max_steps": step + 1, "resume_from_checkpoint": "true"}
    text = start(flags(out, **more), ranks=2).finish()
    assert f"resuming from {checkpoint}" in text
    assert [row["step"] for row in history(out)] == list(range(1, step + 2))


def test_a_killed_trainer_leaves_no_server_and_no_port(start, flags, tmp_path):
    out = tmp_path / "out"
    run = start(flags(out, **published(max_steps=1000)), ranks=2)
    run.wait_for(lambda: (out / "hint_ledger.jsonl").exists())
    port = run.server_port()
    assert listens(port)
    assert_only_the_run_may_use(run, port, out)
    run.kill_trainer()
    assert not run.left_over()
    assert not listens(port)
