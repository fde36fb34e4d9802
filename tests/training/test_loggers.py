"""Runs that report to wandb (offline) and tensorboard: all metrics, no warnings, readable completions."""

import contextlib
import io
import json
import logging
from pathlib import Path

import pandas
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

COLUMNS = ["step", "prompt", "completion", "after_a_hint", "hint", "hint_level", "advantage"]


def after_a_hint(completions, begun, **_):
    return [float(len(text) >= 20 and place % 2 == 0) for place, text in enumerate(begun)]


@pytest.fixture(scope="module")
def reported(make_trainer, samples, tmp_path_factory):
    """Output folder, wandb's folder and everything that was printed, of two steps."""
    import wandb
    from transformers.utils import logging as transformers_logging

    folder = tmp_path_factory.mktemp("wandb")
    printed = io.StringIO()
    handler = logging.StreamHandler(printed)
    transformers_logging.get_logger().addHandler(handler)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(printed):
        for name, value in {"MODE": "offline", "DIR": folder, "SILENT": "true"}.items():
            patch.setenv(f"WANDB_{name}", str(value))
        trainer = make_trainer(
            accuracy=after_a_hint,
            samples=samples[:8],
            report_to=["wandb", "tensorboard"],
            log_completions=True,
        )
        trainer.train()
        wandb.finish()
    transformers_logging.get_logger().removeHandler(handler)
    return trainer.args.output_dir, folder, printed.getvalue()


def test_wandb_gets_a_table_of_texts(reported):
    _, folder, _ = reported
    tables = [json.loads(file.read_text()) for file in sorted(folder.rglob("*.table.json"))]
    assert len(tables) == 2
    for table in tables:
        assert table["columns"] == [*COLUMNS, "image"]
        assert len(table["data"]) == 8  # 2 prompts x 4 completions
        row = dict(zip(table["columns"], table["data"][0], strict=True))
        assert row["prompt"]
        assert isinstance(row["prompt"], str)
        assert "Assistant" not in row["prompt"]  # the question alone
        assert isinstance(row["completion"], str)
        assert (row["hint_level"] > 0) == bool(row["hint"])
    assert any(row[table["columns"].index("hint")] for table in tables for row in table["data"])


def test_the_completions_file_has_the_same_texts(reported):
    output, folder, _ = reported
    table = json.loads(next(folder.rglob("*.table.json")).read_text())
    frames = [pandas.read_parquet(f"{output}/completions/completions_{step:05d}.parquet") for step in (1, 2)]
    assert [list(frame.columns) for frame in frames] == [COLUMNS] * 2
    stored = {text for frame in frames for text in frame["completion"]}
    assert {row[2] for row in table["data"]} <= stored


def test_tensorboard_gets_only_numbers(reported):
    output, _, printed = reported
    assert "incorrect" not in printed, printed
    assert "NoneType" not in printed
    (folder,) = {file.parent for file in Path(output).rglob("events.out.tfevents*")}
    events = EventAccumulator(str(folder)).Reload()
    names = events.Tags()["scalars"]
    assert "train/hint/never_correct" in names
    assert [event.step for event in events.Scalars("train/hint/data_utilization")] == [1, 2]
    assert not [name for name in names if "sampling" in name]  # no vLLM, nothing to compare
