"""The authors' released data rules: case by case on made-up records, and on what their code returned for real ones."""

import json
from pathlib import Path

import pytest

from hint_grpo.data.dataset import RESPLIT_FILE, load_training_data
from hint_grpo.data.jsonl import Occurrences
from hint_grpo.data.llava_cot import released_fill_in, released_steps, split_steps
from hint_grpo.data.samples import DataReport, Filter, Refused
from hint_grpo.machine.errors import UserError
from hint_grpo.policies.paper import Adaptive

OPTIONS = "How long is PQ?\nA. 3 cm\nB. 5 cm\nC. 7 cm\nD. 9 cm"

STEPS = {
    "on one line": ("Step 1: P is 3. Step 2: Q is 5. Step 3: So 8.", ["P is 3.", "Q is 5.", "So 8."]),
    "on lines of their own": ("Step 1:\nP is 3.\n\nStep 2:\nQ is 5.", ["P is 3.", "Q is 5."]),
    "text before the first mark is dropped": ("We look.\nStep 1: P is 3.", ["P is 3."]),
    "a mention is a mark": ("Step 1: P is 3. Step 2: By Step 1 it is 5.", ["P is 3.", "By", "it is 5."]),
    "bold marks leave their stars": ("**Step 1:** P is 3.\n**Step 2:** So 5.", ["** P is 3.\n**", "** So 5."]),
    "other signs behind the number stay": ("Step 1 - P is 3. Step 12. So 5.", ["- P is 3.", ". So 5."]),
    "a small letter is no mark": ("step 1: P is 3.\nstep 2: So 5.", []),
    "nor is a numbered line": ("1. P is 3.\n2. So 5.", []),
    "nor a paragraph": ("P is 3.\n\nSo 5.", []),
}

# (question, conclusion) -> (question, solution), or the filter
RECORDS = [
    (OPTIONS, "B", ("How long is PQ?\n", "5 cm")),
    (OPTIONS, " The answer is (C). ", ("How long is PQ?\n", "7 cm")),
    ("How long is PQ? A. 3 B. 5", "A. 3", ("How long is PQ? ", "3")),
    ("Area of circle D. Choose.\nA. 2π\nB. 3π", "B", ("Area of circle ", "3π")),  # cut at the name of a point
    (OPTIONS, "PQ is 5 cm", ("How long is PQ?\n", "PQ is 5 cm")),  # no letter: options go, the sentence stays
    (OPTIONS, "A or B, 5", ("How long is PQ?\n", "A or B, 5")),  # two letters name no option
    ("How many cubes?", " There are 4 cubes. ", ("How many cubes?", " There are 4 cubes. ")),
    ("<image>\nHow many cubes? ", "4", ("<image>\nHow many cubes? ", "4")),
    ("What is PQ?", "$\\sqrt{a}$", ("What is PQ?", "$\\sqrt{a}$")),  # LaTeX without a digit
    ("Is it a cube?", "no", Filter.NO_NUMBER),
    ("Which?\nA. red\nB. blue", "B", Filter.NO_NUMBER),
    ("How many cubes?", "Cubes: 4", Filter.RELEASED_CODE_FAILS),  # "C" of "Cubes"
    (OPTIONS.replace("D. 9 cm", ""), "D", Filter.RELEASED_CODE_FAILS),
]


@pytest.mark.parametrize("name", STEPS)
def test_steps(name: str) -> None:
    text, steps = STEPS[name]
    assert list(released_steps(text)) == steps


def kept_or_why_not(question: str, conclusion: str) -> tuple[str, str] | Filter:
    try:
        return released_fill_in(question, conclusion)
    except Refused as refused:
        return refused.reason


@pytest.mark.parametrize(("question", "conclusion", "expected"), RECORDS)
def test_records(question: str, conclusion: str, expected: tuple[str, str] | Filter) -> None:
    assert kept_or_why_not(question, conclusion) == expected


def test_multiple_choice_may_stay() -> None:
    assert released_fill_in(OPTIONS, "The answer is B.", keep_multiple_choice=True) == (OPTIONS, "B")
    with pytest.raises(Refused):
        released_fill_in("Which?\nA. red\nB. blue", "B", keep_multiple_choice=True)


def test_their_steps_and_hints(shared_data: Path) -> None:
    cases = json.loads((shared_data / "released/steps.json").read_text("utf-8"))
    assert len(cases) == 56
    for case in cases:
        steps = released_steps(case["reasoning"])
        assert list(steps) == case["steps"]
        for num_levels, hints in case["hints"].items():
            policy = Adaptive(int(num_levels), counts="float", equal_hints="sample")
            assert [level.text for level in policy.longest_levels(steps)] == hints


def test_their_records(shared_data: Path) -> None:
    cases = json.loads((shared_data / "released/records.json").read_text("utf-8"))
    assert len(cases) == 15
    for case in cases:
        expected = (case["trained_question"], case["solution"]) if case.get("kept") else Filter.NO_NUMBER
        if case.get("error") == "KeyError":
            expected = Filter.RELEASED_CODE_FAILS
        assert kept_or_why_not(case["question"], case["conclusion"]) == expected


REASONING = "We look.\nStep 1: P is 3.\nStep 2: As in Step 1, Q is 5."


@pytest.fixture
def data(data_root, make_record, make_answer, write_jsonl, tmp_path):
    """A data folder with a re-split file, and load(...) for it."""
    records = [
        make_record("a", f"<image>\n{OPTIONS}", make_answer(REASONING, "B")),
        make_record("b", "How many cubes?", make_answer("No marks.", "There are 4 cubes.")),
        make_record("c", "How many cubes?", make_answer(REASONING, "Cubes: 4")),
        make_record("d", "Is it a cube?", make_answer(REASONING, "no")),
    ]
    write_jsonl(data_root / RESPLIT_FILE, records)
    return lambda **options: load_training_data(data_root, cache_dir=tmp_path / "cache", **options)


def test_each_switch_changes_its_part_alone(data) -> None:
    samples, report = data(data_rules="released", step_rules="released")
    assert [(row["id"], row["question"], row["solution"], row["reasoning_steps"]) for row in samples] == [
        ("a", "<image>\nHow long is PQ?\n", "5 cm", ["P is 3.", "As in", ", Q is 5."]),
        ("b", "How many cubes?", " There are 4 cubes. ", []),
    ]
    assert report.dropped([Filter.RELEASED_CODE_FAILS]) == report.dropped([Filter.NO_NUMBER]) == 1

    rows = {row["id"]: row for row in data(data_rules="released")[0]}
    assert rows["a"]["question"] == "<image>\nHow long is PQ?\n"
    assert rows["a"]["reasoning_steps"] == list(split_steps(REASONING))

    rows = {row["id"]: row for row in data(step_rules="released")[0]}
    assert rows["a"]["question"] == "How long is PQ?"
    assert (rows["b"]["solution"], rows["c"]["solution"]) == ("4", "4")
    assert rows["a"]["reasoning_steps"] == ["P is 3.", "As in", ", Q is 5."]


def test_steps_file_in_the_data_folder_or_elsewhere(data, data_root, tmp_path) -> None:
    rows = list(data(steps_file=RESPLIT_FILE)[0])
    moved = tmp_path / "elsewhere.jsonl"
    (data_root / RESPLIT_FILE).rename(moved)
    samples, report = data(steps_file=moved)
    assert [row["reasoning_steps"] for row in samples] == [row["reasoning_steps"] for row in rows]
    assert report.file == "elsewhere.jsonl"
    with pytest.raises(
        UserError, match=r"curl -L --fail -o \S+llavacot_geometry.jsonl https://github.com/hqhQAQ/Hint-GRPO/"
    ):
        data(steps_file=RESPLIT_FILE)
    with pytest.raises(UserError, match="one of the two"):
        data(steps_file=moved, dataset_name="own.jsonl")


def test_counts_are_compared_with_the_published_ones(data) -> None:
    (line,) = [line for line in data(data_rules="released")[1].lines() if "authors" in line]
    assert "keeps 7,840 samples, 7,616 after its length filter; here 2 (7,838 fewer) and 2 (7,614 fewer)" in line
    report = DataReport("llavacot_geometry.jsonl", questions=7_900, samples=7_000)
    report.filters = {
        Filter.NO_NUMBER.value: Occurrences(59),
        Filter.RELEASED_CODE_FAILS.value: Occurrences(1),
        Filter.REASONING_TOO_LONG.value: Occurrences(224),
        Filter.IMAGE_MISSING.value: Occurrences(616),  # not part of their counts
    }
    assert "here 7,840 (equal) and 7,616 (equal)" in "\n".join(report.lines())
    report.filters[Filter.REASONING_TOO_LONG.value].count = 220
    assert "here 7,840 (equal) and 7,620 (4 more)" in "\n".join(report.lines())


def test_other_files_are_not_compared() -> None:
    assert not any("authors" in line for line in DataReport("train.jsonl", questions=7_840).lines())
