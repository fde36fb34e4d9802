"""A run whose hints depend on its progress and its history, killed and resumed: to the bit what an uninterrupted run gives."""

import pytest
from outputs import first_questions, records, records_so_far, same_weights

pytestmark = pytest.mark.slow

# Hints follow from earlier visits of the question, the accuracy of the last steps, the progress and a random number.
POLICY = """
class Remembering:
    def levels(self, sample, progress, history):
        failed = sum(tried.num_correct == 0 for visit in history.visits for tried in visit.tried)
        more = int(sum(history.accuracies[-2:]) == 0) + int(progress > 0.4) + sample.random().randrange(2)
        return sorted({0, min(failed + more, sample.num_steps)})
"""


@pytest.fixture
def small_data(world, tmp_path):
    """Six questions of the toy world, so that a second epoch begins soon."""
    return first_questions(world.train_data, tmp_path / "data", 6)


@pytest.mark.parametrize("kind", ["plugin", "seele"])
def test_killed_in_the_second_epoch(start, flags, small_data, tmp_path, kind):
    (tmp_path / "policy.py").write_text(POLICY)
    policies = {
        "plugin": {"hint_policy": f"{tmp_path}/policy.py:Remembering"},
        "seele": {"hint_policy": "seele", "num_generations": 4, "scale_rewards": "none", "keep_sampling": 1},
    }
    more = {
        "data_path": small_data,
        "save_steps": 4,
        "max_steps": 11,
        "resume_from_checkpoint": "true",
        "max_completion_length": 24,
        **policies[kind],
    }
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    start(flags(whole, **more)).finish()
    visits = [record["id"] for record in records(whole)]
    assert len(set(visits)) < len(visits), "no question was seen twice, so there was no history"

    run = start(flags(cut, **more))
    run.wait_for(lambda: (cut / "checkpoint-8").exists() and len(records_so_far(cut)) >= 9)
    run.kill_trainer()
    assert "resuming from" in start(flags(cut, **more)).finish()
    assert records(cut) == records(whole)
    assert same_weights(whole, cut)
    if kind == "plugin":
        assert (
            len({record["hint_steps"] for record in records(whole)} | {len(r["accuracy"]) for r in records(whole)}) > 1
        )
