"""--rollouts_ahead on two ranks with the run's own server: stopped by SIGTERM and resumed, it trains on what was sampled."""

import json
import signal

import pytest
from outputs import records, records_so_far

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow


def test_sigterm_and_resume(start, flags, tmp_path):
    out = tmp_path / "out"
    more = {
        "deepspeed": "local_scripts/zero3_offload.json",
        "use_vllm": "true",
        "vllm_mode": "server",
        "rollouts_ahead": 1,
        "num_groups": 2,
        "stop_on_logp_gap": "false",  # the learning rate of these tests moves far in one update
        "save_steps": 1000,
    }
    run = start(flags(out, **more, max_steps=1000), ranks=2)
    run.wait_for(lambda: len(records_so_far(out)) >= 4)
    run.process.send_signal(signal.SIGTERM)
    run.wait_for_end()
    assert "off-policy by one step" in run.text()
    assert "stopped by a signal after step" in run.text()
    assert not run.left_over()
    (checkpoint,) = out.glob("checkpoint-*")
    step = int(checkpoint.name.removeprefix("checkpoint-"))
    stored = [json.loads((checkpoint / f"rollouts-ahead-rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert [one["step"] for one in stored] == [step + 1] * 2
    assert [one["weights_step"] for one in stored] == [step - 1] * 2

    more |= {"max_steps": step + 2, "resume_from_checkpoint": "true"}
    start(flags(out, **more), ranks=2).finish()
    by_step = [[record for record in records(out) if record["step"] == number] for number in range(1, step + 3)]
    assert [[record["weights_step"] for record in both] for both in by_step] == [
        [max(number - 2, 0)] * 2 for number in range(1, step + 3)
    ]
    assert len({record["id"] for record in by_step[-1]}) == 2
    for record, one in zip(by_step[step], stored, strict=True):  # of step + 1, rank by rank
        (prompt,) = one["prompts"]
        assert record["accuracy"] == {str(group["hint"][0]): group["accuracy"] for group in prompt["groups"]}
        assert record["sampled_tokens"] == {
            str(group["hint"][0]): sum(len(tokens) for tokens, *_ in group["completions"]) for group in prompt["groups"]
        }
        assert record["level"] == prompt["chosen"]
    assert not (out / "rollouts-ahead-rank-0.json").exists()
