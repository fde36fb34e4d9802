"""Pages that train_model.py writes itself: at its end, every N steps, and never at the cost of the run."""

import json
import re
import subprocess
import sys
import time

import pytest
from test_report import data_of, page_of, table_of

from eval.runs import flag_words
from hint_grpo.machine import report_process
from hint_grpo.machine.hardware import describe_machine
from hint_grpo.machine.report_process import ReportProcess, write_report
from hint_grpo.report.data import read_run


@pytest.fixture
def train(world, repository, tmp_path):
    """train(**flags) -> the folder and the finished process of a tiny training on the toy world."""

    def start(**changes):
        folder = tmp_path / "run"
        flags = {
            "model_name_or_path": world.models["Qwen2.5-VL"],
            "data_path": world.train_data,
            "output_dir": folder,
            "max_steps": 2,
            "per_device_train_batch_size": 2,
            "num_generations": 2,
            "max_completion_length": 32,
            "save_strategy": "no",
            "bf16": "false",
        } | changes
        command = [sys.executable, repository / "train_model.py", *flag_words(flags)]
        return folder, subprocess.run(command, capture_output=True, text=True)

    return start


def test_a_real_run(train):
    """A tiny training on the toy world, from train_model.py to the page."""
    folder, done = train(report_every=1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        f"saved to {folder}: weights, hint_ledger.jsonl, data_utilization.png",
        f"report: {folder}/report.html",
    ]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page == page_of(folder)
    data = data_of(page)
    assert {card["step"] for card in data["cards"]} == {1, 2}
    assert all(len(level["completions"]) == 2 for card in data["cards"] for level in card["levels"])
    assert all(picture["src"] for picture in data["pictures"])
    assert read_run(folder).last_step == 2
    assert '<li class="fine">The run is finished.</li>' in page
    assert {"data utilisation", "seconds per step"} <= table_of(page).keys()
    facts = dict(re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", page))
    assert facts["seed"] == "42"
    assert facts["versions"].startswith("torch ")
    assert facts["machine"] == describe_machine()


def test_a_run_whose_page_cannot_be_written_ends_as_usual(train, tmp_path):
    (tmp_path / "run" / "report.html").mkdir(parents=True)
    folder, done = train(max_steps=1)
    assert done.returncode == 0
    assert (folder / "model.safetensors").exists()
    assert done.stdout.splitlines()[-1].startswith("saved to ")
    warnings = [line for line in done.stderr.splitlines() if "report.html" in line]
    assert warnings == [
        f"warning: {folder}/report.html was not written: {folder}/report.html cannot be written: Is a directory; copy the folder "
        f"to a place that you can write to (to try again: python -m hint_grpo.report {folder})"
    ]


def test_pages_are_rewritten_beside_the_run_one_at_a_time(make_run):
    folder = make_run(steps=2)
    process = ReportProcess(folder)
    process.start()
    first = process._process
    process.start()
    assert process._process is first
    deadline = time.monotonic() + 60
    while first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    (folder / "report.html").unlink()
    process.start()
    assert process._process is not first
    assert process.finish() == folder / "report.html"
    assert (folder / "report.html").is_file()
    process.start()
    running = process._process
    process.stop()
    assert running.returncode < 0
    assert process.finish() is None


@pytest.mark.parametrize("what", ["no run", "a crash", "no process", "no temporary file", "too slow"])
def test_every_failure_is_one_line(make_run, monkeypatch, tmp_path, capsys, what):
    folder, reason = make_run(steps=2), "was not written"
    if what == "no run":
        folder = tmp_path / "empty"
        folder.mkdir()
        reason = "hint_ledger.jsonl is missing or empty"
    elif what == "a crash":
        ledger = (folder / "hint_ledger.jsonl").read_text().splitlines()
        (folder / "hint_ledger.jsonl").write_text(json.dumps(json.loads(ledger[0]) | {"rewards": 3}) + "\n")
        reason = "Error: "
    elif what == "no process":
        monkeypatch.setattr(report_process.sys, "executable", str(tmp_path / "no-python"))
        reason = "No such file"
    elif what == "no temporary file":
        monkeypatch.setattr(report_process.tempfile, "TemporaryFile", (tmp_path / "a" / "b").open)
        reason = "No such file"
    else:
        monkeypatch.setattr(report_process, "TIMEOUT_S", 0.01)
        reason = "took more than"
    assert write_report(folder) is None
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"warning: {folder}/report.html was not written: ")
    assert reason in printed.err
    assert printed.err.count("\n") == 1
