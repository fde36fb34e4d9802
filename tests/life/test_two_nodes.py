"""Two nodes and a rollout server on a third, each in a network namespace of this machine: trained, one killed, resumed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow
ADDRESSES = {"server": "10.77.0.1", "first": "10.77.0.2", "second": "10.77.0.3"}
NUM_STEPS = 6


class Network:
    """Three namespaces, joined by a bridge in that of the server, without a way out.

    A namespace lives as long as a process in it: here a `cat` that ends when its input is closed, even by the death of
    this process.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.holders = {}
        for name in ADDRESSES:
            holder = stack.enter_context(subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE))
            stack.callback(holder.stdin.close)
            self.holders[name] = holder.pid
        own = os.readlink("/proc/self/ns/net")
        deadline = time.monotonic() + 20
        while any(os.readlink(f"/proc/{holder}/ns/net") == own for holder in self.holders.values()):
            if time.monotonic() > deadline:
                raise OSError("unshare --net made no network namespace")
            time.sleep(0.05)
        self._join()

    def _join(self) -> None:
        server = str(self.holders["server"])
        self.ip("server", "link", "add", "bridge", "type", "bridge")
        for name, address in ADDRESSES.items():
            self.ip(name, "link", "set", "lo", "up")
            device = "bridge"
            if name != "server":
                device = "eth0"
                self.ip(name, "link", "add", device, "type", "veth", "peer", "name", name, "netns", server)
                self.ip("server", "link", "set", name, "master", "bridge", "up")
            self.ip(name, "address", "add", f"{address}/24", "dev", device)
            self.ip(name, "link", "set", device, "up")

    def inside(self, name: str, command: list[str]) -> list[str]:
        """`command` on that node, where Gloo finds its device."""
        device = "bridge" if name == "server" else "eth0"
        node = ["nsenter", "--target", str(self.holders[name]), "--net"]
        secret = "HINT_GRPO_SERVER_TOKEN=of-this-test"
        return [*node, "env", f"GLOO_SOCKET_IFNAME={device}", secret, *command]

    def ip(self, name: str, *arguments: str) -> None:
        subprocess.run(self.inside(name, ["ip", *arguments]), check=True, capture_output=True, text=True, timeout=20)


@pytest.fixture
def network() -> Iterator[Network]:
    with ExitStack() as stack:
        try:
            made = Network(stack)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"this machine lets no test make network namespaces: {getattr(error, 'stderr', '') or error}")
        yield made


@pytest.fixture
def on_node(network: Network, launch):
    """on_node(name, command) -> the Run of `launch`, on that node."""
    return lambda name, command: launch(network.inside(name, command))


def steps_begun(out: Path) -> int:
    ledger = out / "hint_ledger.jsonl"
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)


def test_a_killed_node_ends_the_run_which_can_be_resumed(on_node, flags, world, tmp_path):
    python, out = sys.executable, tmp_path / "out"
    model = str(world.models["Qwen2.5-VL"])
    served = ["--host", ADDRESSES["server"], "--port", "8000", "--dtype", "float32", "--max-model-len", "2048"]
    on_node("server", [python, "-m", "hint_grpo.rollout.serve", model, *served])
    training = flags(
        out,
        deepspeed="local_scripts/zero3.json",
        use_vllm="true",
        vllm_mode="server",
        vllm_server_base_url=f"http://{ADDRESSES['server']}:8000",
        max_steps=NUM_STEPS,
        save_steps=2,
        resume_from_checkpoint="true",
    )

    def start(name: str, attempt: int):
        rendezvous = [
            *("--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d", "--rdzv_id", f"attempt-{attempt}"),
            *("--rdzv_endpoint", f"{ADDRESSES['first']}:{29500 + attempt}", "--local-addr", ADDRESSES[name]),
            *(("--rdzv_conf", "is_host=true") if name == "first" else ()),
        ]
        return on_node(name, [python, "-m", "torch.distributed.run", *rendezvous, "train_model.py", *training])

    first, second = start("first", 1), start("second", 1)
    first.wait_for(lambda: (out / "checkpoint-2").exists() and steps_begun(out) >= 3)
    second.look()
    second.kill_trainer()
    first.wait_for_end()  # within seconds; where it never ends, pytest's time-out ends the test
    assert first.process.returncode != 0
    assert not (out / "model.safetensors").exists()

    first, second = start("first", 2), start("second", 2)
    assert f"resuming from {out / 'checkpoint-'}" in first.finish() + second.finish()  # rank 0, on either node
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    rows = [row for row in history if "loss" in row]
    assert [row["step"] for row in rows] == list(range(1, NUM_STEPS + 1))
    # both nodes' weights reached the server: it samples from the present ones
    assert max(row["sampling/sampling_logp_difference/mean"] for row in rows) < 0.03
    records = [json.loads(line) for line in (out / "hint_ledger.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [step for step in range(1, NUM_STEPS + 1) for _ in range(2)]
    assert (out / "model.safetensors").stat().st_size > 0
