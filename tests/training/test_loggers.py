"""Runs that report to wandb (offline) and tensorboard: all metrics, no warnings, a table of every sampled level."""

import contextlib
import io
import json
import logging
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hint_grpo.training import completion_table, rollout_log

COLUMNS = [*completion_table.COLUMNS, "after_a_hint", "trained", "advantage"]


def after_a_hint(completions, begun, **_):
    return [float(len(text) >= 20 and place % 2 == 0) for place, text in enumerate(begun)]


@pytest.fixture(scope="module")
def reported(make_trainer, samples, tmp_path_factory):
    """Output folder, wandb's folder and everything that was printed, of four steps."""
    import wandb
    from transformers.utils import logging as transformers_logging

    folder = tmp_path_factory.mktemp("wandb")
    printed = io.StringIO()
    handler = logging.StreamHandler(printed)
    transformers_logging.get_logger().addHandler(handler)
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stderr(printed),
        contextlib.redirect_stdout(printed),
    ):
        for name, value in {"MODE": "offline", "DIR": folder, "DATA_DIR": folder / "data", "SILENT": "true"}.items():
            patch.setenv(f"WANDB_{name}", str(value))
        trainer = make_trainer(
            accuracy=after_a_hint,
            samples=samples[:8],
            report_to=["wandb", "tensorboard"],
            log_completions=True,
            log_completions_steps=2,
            num_completions_to_print=1,
            max_steps=4,
        )
        trainer.train()
        wandb.finish()
    transformers_logging.get_logger().removeHandler(handler)
    return trainer.args.output_dir, folder, printed.getvalue()


def test_wandb_gets_the_rollouts_with_their_pictures(reported):
    output, folder, _ = reported
    stored = list(rollout_log.read(Path(output) / "rollouts"))
    tables = [json.loads(file.read_text()) for file in folder.rglob("*.table.json")]
    assert sorted(table["data"][0][0] for table in tables) == [2, 4]  # steps
    for table in tables:
        assert table["columns"] == COLUMNS
        rows = [dict(zip(COLUMNS, values, strict=True)) for values in table["data"]]
        assert {row.pop("picture") for row in rows} == {"Image"}  # the pictures are in the artifact
        of_step = [row | row["rewards"] for row in stored if row["step"] == rows[0]["step"]]
        assert rows == [{name: row[name] for name in COLUMNS if name != "picture"} for row in of_step]
    assert any(row["level"] > 0 and row["hint"] for row in stored)
    artifacts = [file.read_bytes() for file in (folder / "data" / "artifacts" / "staging").iterdir()]
    tables = [json.loads(content) for content in artifacts if content.startswith(b'{"_type": "table"')]
    assert tables
    pictures = [values[COLUMNS.index("picture")] for table in tables for values in table["data"]]
    assert all(picture["_type"] == "image-file" and picture["width"] >= 28 for picture in pictures)
    assert (
        sum(content.startswith(b"\x89PNG") for content in artifacts)
        >= len({picture["path"] for picture in pictures})
        > 1
    )


def test_trl_writes_no_tables_of_its_own(reported):
    assert not (Path(reported[0]) / "completions").exists()


def test_completions_are_printed_if_asked_for(reported):
    output, _, printed = reported
    for step in (1, 2, 3, 4):
        rows = (row for row in rollout_log.read(Path(output) / "rollouts") if row["step"] == step and row["trained"])
        assert printed.count(f"step {step}, {next(rows)['id']}, level ") == 1


def test_a_table_without_a_run_a_picture_or_rows():
    completion_table.send_to_wandb(1, [])  # no wandb run is active
    assert completion_table._picture("/no/such/file.png") is None
    row = {"step": 3, "id": "a", "level": 1, "verdict": "right", "hint": "H", "completion": "C", "trained": True}
    shown = list(completion_table.lines([[row | {"trained": False}], [row, row]], None))
    assert shown == ["step 3, a, level 1, right after the hint 'H':\nC"] * 2
    assert not list(completion_table.lines([[row]], 0))


def test_tensorboard_gets_only_numbers(reported):
    output, _, printed = reported
    assert "incorrect" not in printed, printed
    assert "NoneType" not in printed
    (folder,) = {file.parent for file in Path(output).rglob("events.out.tfevents*")}
    events = EventAccumulator(str(folder)).Reload()
    names = events.Tags()["scalars"]
    assert "train/hint/never_correct" in names
    assert [event.step for event in events.Scalars("train/hint/data_utilization")] == [1, 2, 3, 4]
    assert not [name for name in names if "sampling" in name]  # no vLLM, nothing to compare
