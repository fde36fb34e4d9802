"""The rollout log: what a row says, which rows are kept, and that a kill, a resume or a full disk quota loses no more than it
must."""

import gzip
import json
import math
import re

import pytest
from batches import batch_for, correct_from

from hint_grpo.hints import hint_at_level
from hint_grpo.scoring.explanation import DIFFERENT, NO_ANSWER, NOT_A_VALUE, RIGHT, explain
from hint_grpo.training import ledger, rollout_log
from hint_grpo.training.callbacks import CleanStart
from hint_grpo.training.rollout_log import RolloutLog


@pytest.mark.parametrize(
    ("completion", "gold", "correct", "expected"),
    [
        ("so 65.</think><answer>65°</answer>", "65°", True, ("65°", RIGHT)),
        ("so 65.</think><answer>60</answer>", "65°", False, ("60", DIFFERENT)),
        ("so 65.</think>It is 65.", "65°", False, (None, NO_ANSWER)),
        ("</think><answer>I do not know</answer>", "65°", False, ("I do not know", NOT_A_VALUE)),
        ("</think><answer>a square</answer>", "a circle", False, ("a square", DIFFERENT)),  # no value is asked for
    ],
)
def test_the_verdict_says_why(completion, gold, correct, expected):
    assert explain(completion, gold, correct=correct) == expected


@pytest.fixture(scope="module")
def trainer(make_trainer, samples):
    return make_trainer(accuracy=correct_from(20), samples=samples)


@pytest.fixture
def stored(trainer, samples):
    """(rows of two prompts whose level 0 failed and whose level 1 has one right completion, the batch for the loss)."""
    folder = trainer.rollout_log.folder
    for file in rollout_log.files_in(folder):
        file.unlink()
    trainer.ledger_path.unlink(missing_ok=True)
    batch = batch_for(trainer, samples[:2])
    return list(rollout_log.read(folder)), batch


def test_every_completion_of_every_level_has_a_row(trainer, samples, stored):
    rows, batch = stored
    assert [(row["id"], row["level"], row["place"]) for row in rows] == [
        (sample["id"], level, place) for sample in samples[:2] for level in (0, 1) for place in range(4)
    ]
    trained = [row for row in rows if row["trained"]]
    assert [row["level"] for row in trained] == [1] * 8
    assert [row["advantage"] for row in trained] == pytest.approx(batch["advantages"].tolist())
    assert all(row["advantage"] is None for row in rows if not row["trained"])
    sampled = [c for rollout in trainer.batch.rollouts for group in rollout.groups.values() for c in group.completions]
    for row, completion in zip(rows, sampled, strict=True):
        assert row["num_tokens"] == len(completion.token_ids)
        assert row["finish_reason"] == completion.finish_reason
        assert row["completion"] == trainer.encoder.decode(completion.token_ids)
    right = [row for row in rows if row["verdict"] == RIGHT]
    assert [(row["level"], row["place"], row["accuracy"], row["rewards"]) for row in right] == [
        (1, 0, 1.0, {"accuracy": 1.0})
    ] * 2
    hints = {
        (sample["id"], level): hint_at_level(sample["reasoning_steps"], level, 3)
        for sample in samples[:2]
        for level in (0, 1)
    }
    assert all(row["hint"] == hints[row["id"], row["level"]] for row in rows)
    assert hints[samples[0]["id"], 1]


def test_rows_join_to_the_ledger(trainer, stored):
    rows, _ = stored
    for record in ledger.read(trainer.ledger_path):
        mine = [row for row in rows if (row["step"], row["id"]) == (record["step"], record["id"])]
        assert {row["level"] for row in mine if row["trained"]} == {record["level"]}
        for level, accuracy_G in record["accuracy"].items():
            assert [row["accuracy"] for row in mine if row["level"] == int(level)] == accuracy_G
            tokens = sum(row["num_tokens"] for row in mine if row["level"] == int(level))
            assert tokens == record["sampled_tokens"][level]


def test_every_key_is_documented(stored, repository):
    text = (repository / "docs" / "outputs.md").read_text("utf-8")
    table = text.partition("### Rollouts")[2].partition("### Metrics")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.M)
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == stored[0][0].keys()


def test_a_reward_that_is_not_a_number_is_null(make_trainer, samples):
    trainer = make_trainer(accuracy=lambda completions, **_: [None, math.nan, 1.0, 0.0], samples=samples, num_groups=1)
    batch_for(trainer, samples[:1])
    rows = list(rollout_log.read(trainer.rollout_log.folder))
    assert [row["accuracy"] for row in rows] == [None, None, 1.0, 0.0]


def row(step, id, trained=True, text="x"):
    return {"step": step, "id": id, "trained": trained, "completion": text}


BY_PROMPT = [[row(1, "a", False), row(1, "a")], [row(1, "b")]]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("all", [("a", False), ("a", True), ("b", True)]),
        ("trained", [("a", True), ("b", True)]),
        ("1", [("a", False), ("a", True)]),
        ("0", []),
    ],
)
def test_what_is_kept(tmp_path, keep, expected):
    RolloutLog(tmp_path, keep, 10**9).append(1, BY_PROMPT)
    assert [(one["id"], one["trained"]) for one in rollout_log.read(tmp_path)] == expected


def test_the_size_limit_holds_and_what_is_missing_is_said(tmp_path, capsys):
    log = RolloutLog(tmp_path, "all", 400)
    for step in range(1, 30):
        log.append(step, [[row(step, "a", text=f"{step}" * 20)]])
    size = sum(file.stat().st_size for file in rollout_log.files_in(tmp_path))
    steps = [one["step"] for one in rollout_log.read(tmp_path)]
    assert 200 < size <= 400
    assert steps == list(range(1, len(steps) + 1))
    left_out = json.loads((tmp_path / rollout_log.LEFT_OUT_FILE).read_text())
    assert left_out["from_step"] == len(steps) + 1
    assert capsys.readouterr().out.count("--max_rollouts_mb") == 1
    # A new process counts what is there already.
    RolloutLog(tmp_path, "all", 400).append(30, [[row(30, "a", text="30" * 20)]])
    assert [one["step"] for one in rollout_log.read(tmp_path)] == steps


def test_a_resume_removes_later_rows_and_a_step_that_a_kill_cut_off(tmp_path):
    log = RolloutLog(tmp_path / "rollouts", "all", 10**9)
    for step in (99, 100, 101, 102, 203):
        log.append(step, [[row(step, "a", text="text " * 40)]])
    file = tmp_path / "rollouts" / "steps-000101.jsonl.gz"
    file.write_bytes(file.read_bytes()[:-20])
    assert [one["step"] for one in rollout_log.read(tmp_path / "rollouts")] == [99, 100, 101, 203]
    rollout_log.start(tmp_path / "rollouts", 101)
    assert [one["step"] for one in rollout_log.read(tmp_path / "rollouts")] == [99, 100, 101]
    log.append(102, [[row(102, "b")]])  # the mended file can be appended to
    assert [(one["step"], one["id"]) for one in rollout_log.read(tmp_path / "rollouts")][2:] == [(101, "a"), (102, "b")]
    assert len(gzip.decompress(file.read_bytes()).splitlines()) == 2


def test_a_new_run_renames_the_folder_of_the_one_before(tmp_path):
    for name in ("rollouts.1", "rollouts.2"):
        RolloutLog(tmp_path / "rollouts", "all", 10**9).append(1, [[row(1, name)]])
        rollout_log.start(tmp_path / "rollouts", 0)
        assert [one["id"] for one in rollout_log.read(tmp_path / name)] == [name]
    assert list(rollout_log.read(tmp_path / "rollouts")) == []


def test_a_run_stores_each_step_once(make_trainer, samples):
    trainer = make_trainer(accuracy=correct_from(20), samples=samples)
    trainer.add_callback(CleanStart())
    trainer.train()
    rows = list(rollout_log.read(trainer.rollout_log.folder))
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    for step in (1, 2):
        keys = [(row["id"], row["level"], row["place"]) for row in rows if row["step"] == step]
        levels = sum(len(record["accuracy"]) for record in ledger.read(trainer.ledger_path) if record["step"] == step)
        assert len(keys) == len(set(keys)) == 4 * levels >= 16
