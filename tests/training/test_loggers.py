"""Runs that report to wandb (offline), tensorboard and trackio: all metrics, no warnings, a table of every sampled level."""

import contextlib
import io
import json
import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from eval.runs import flag_words
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


def test_trackio_gets_every_step_of_a_real_run(world, repository, tmp_path):
    """Skips without trackio, which is not in requirements-dev.txt because it demands a Pillow older than this project's."""
    pytest.importorskip("trackio")
    flags = {
        "model_name_or_path": world.models["Qwen2.5-VL"],
        "data_path": world.train_data,
        "output_dir": tmp_path / "run",
        "report_to": "trackio",
        "project": "toy",
        "run_name": "first",
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "num_generations": 2,
        "max_completion_length": 16,
        "save_strategy": "no",
        "bf16": "false",
        "report": "false",
    }
    command = [sys.executable, repository / "train_model.py", *flag_words(flags)]
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with contextlib.closing(sqlite3.connect(tmp_path / "trackio" / "toy.db")) as database:
        found = database.execute("SELECT run_name, metrics FROM metrics ORDER BY id").fetchall()
    assert {name for name, _ in found} == {"first"}
    tracked = {
        values["train/global_step"]: values
        for _, text in found
        if "train/hint/data_utilization" in (values := json.loads(text))
    }
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    steps = {entry["step"]: entry for entry in log if "hint/data_utilization" in entry}
    assert tracked.keys() == steps.keys() == {1, 2}
    for step, entry in steps.items():
        for name in ("hint/data_utilization", "hint/never_correct", "loss", "time/generate"):
            assert tracked[step][f"train/{name}"] == pytest.approx(entry[name])
