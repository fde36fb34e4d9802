"""Groups that mix hints on two ranks with the run's own server: every rank samples its own rounds, and trains on all of them."""

import pytest
from outputs import records

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("ahead", [0, 1])
def test_trapo_on_two_ranks(start, flags, tmp_path, ahead):
    out = tmp_path / "out"
    more = {
        "use_vllm": "true",
        "vllm_mode": "server",
        "hint_policy": "trapo",
        "scale_rewards": "none",
        "num_generations": 4,
        "max_steps": 3,
        "max_completion_length": 32,
        "rollouts_ahead": ahead,
        "stop_on_logp_gap": "false",
    }
    start(flags(out, **more), ranks=2).finish()
    assert [(record["step"], record["weights_step"]) for record in records(out)] == [
        (step, max(step - 1 - ahead, 0)) for step in (1, 2, 3) for _ in range(2)
    ]
    assert len({record["id"] for record in records(out)}) == 6
    for record in records(out):
        assert record["mixed"]
        assert [len(accuracies) for accuracies in record["accuracy"].values()] == [1, 1, 1, 1]
        assert record["steps_by_level"]["0"] == 0
        # The fourth round gives the whole reasoning unless the rounds before were right often enough.
        assert record["steps_by_level"]["3"] in (0, record["num_steps"])
    assert any(record["steps_by_level"]["3"] for record in records(out))
