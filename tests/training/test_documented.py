"""The documents list exactly the overridden methods, ledger keys and metrics of the code."""

import hint_grpo.machine.stack  # noqa: F401

import json
import re
from pathlib import Path

from batches import batch_for, correct_from
from trl import GRPOTrainer

from hint_grpo.training import ledger
from hint_grpo.training.trainer import HintGRPOTrainer


def section(text: str, title: str) -> str:
    """The paragraph that begins with `title`, and the next one."""
    return "\n".join(text[text.index(title) :].split("\n\n", 2)[:2])


def test_the_overridden_private_methods_are_all_named(repository: Path) -> None:
    private = {
        name
        for owner in HintGRPOTrainer.__mro__[: HintGRPOTrainer.__mro__.index(GRPOTrainer)]
        for name, value in vars(owner).items()
        if name.startswith("_") and not name.startswith("__") and callable(value) and hasattr(GRPOTrainer, name)
    }
    results = (repository / "docs/results.md").read_text("utf-8")
    item = section(results, "Training is a subclass of")
    assert "ten private methods" in item
    assert len(private) == 10
    assert private == set(re.findall(r"`(_\w+)`", item))


def test_the_ledger_and_its_metrics_are_all_documented(make_trainer, samples, repository: Path) -> None:
    trainer = make_trainer(accuracy=correct_from(20), samples=samples)
    batch_for(trainer, samples[:1])
    (record,) = ledger.read(trainer.ledger_path)
    outputs = (repository / "docs/outputs.md").read_text("utf-8")
    documented = set(
        re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", section(outputs, "A ledger line:"), re.M)))
    )
    assert documented == record.keys()
    metrics = section(outputs, "Metrics, means over")
    for name in ledger.metrics([record], 3):
        assert re.sub(r"_\d$", "_i", name) in metrics, name
    turn = trainer.batch.rollouts[0].group.turn
    assert record["hint_tokens"] == len(trainer.encoder.begun(turn.hint.text)) < len(turn.begun_ids)
    assert json.loads(json.dumps(record)) == record
