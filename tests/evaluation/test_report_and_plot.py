"""The table, the list of disagreements, the last line, and the plot."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from hint_grpo.evaluation.report import accuracy_line, disagreements, draw_scales, print_report, scoring_trouble, table
from hint_grpo.evaluation.results import Result, Summary, summarise, write_results


def result(id: str, paper: bool, strict: bool, *, answer: str | None = "4", finish: str = "stop") -> Result:
    return Result(id, "a.png", "how many?", "4", "<think>it is 4</think>", answer, paper, strict, 10, finish)


RESULTS = [
    result("0", True, True),
    result("1", True, False, answer=None),
    result("2", False, True),
    result("3", False, False, answer=None, finish="length"),
]


def summary(scale: float = 0.8, results: list[Result] = RESULTS, **more: float) -> Summary:
    return summarise(results, name=f"scale-{scale}", scale=scale, no_image=False, **more)  # type: ignore[arg-type]


def test_the_counts() -> None:
    counted = summary(tokens_per_second=12.34)
    assert (counted.accuracy_paper, counted.accuracy_strict) == (0.5, 0.5)
    assert (counted.num_tokens, counted.num_token_limit, counted.num_missing_answer) == (40, 1, 2)
    assert (counted.paper_only, counted.strict_only) == (("1",), ("2",))


def test_the_table_has_a_row_per_scale_and_aligned_columns() -> None:
    lines = table([summary(0.0), summary(0.8, tokens_per_second=12.34)]).splitlines()
    assert len(lines) == 4
    assert len(set(map(len, lines))) == 1
    assert lines[2].split()[:2] == ["scale-0.0", "4"]
    assert "50.00 [15.00, 85.00]" in lines[3]  # Wilson at 2 of 4
    assert "12.3" in lines[3]


def test_disagreements_are_listed_with_their_ids() -> None:
    text = disagreements(summary(), {result.id: result for result in RESULTS})
    assert "only paper accepts 1" in text
    assert "id 1: gold '4', no <answer>" in text
    assert "only strict accepts 1" in text
    assert "id 3" not in text


def test_the_last_line_is_the_papers_accuracy_of_the_last_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summaries = [summary(0.0), summary(0.8, RESULTS[:3])]
    for one, results in zip(summaries, (RESULTS, RESULTS[:3]), strict=True):
        (tmp_path / one.name).mkdir()
        write_results(tmp_path / one.name / "results.jsonl", results)
    print_report(tmp_path, summaries)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "Accuracy: 66.67%" == accuracy_line(summaries)
    assert lines[-2] == "the accuracy below is that of scale-0.8, the last of the scales given"
    print_report(tmp_path, summaries[:1], tmp_path / "report.html")
    printed = capsys.readouterr().out
    assert "the accuracy below" not in printed
    assert printed.splitlines()[-2:] == [
        f"results: {tmp_path}; to look at them, open {tmp_path}/report.html",
        "Accuracy: 50.00%",
    ]


def test_answers_that_could_not_be_judged_are_mentioned() -> None:
    assert scoring_trouble({"scored": 9, "timeouts": 0, "crashes": 0, "oversized": 0}) is None
    trouble = scoring_trouble({"scored": 9, "timeouts": 2, "crashes": 0, "oversized": 1})
    assert trouble == "comparisons without a verdict, counted as wrong: 2 timeouts, 1 oversized"


def test_the_plot_and_its_numbers(tmp_path: Path) -> None:
    draw_scales([summary(0.8, RESULTS[:1]), summary(0.0, RESULTS[3:]), summary(1.6)], tmp_path)
    with Image.open(tmp_path / "accuracy_by_scale.png") as picture:
        assert len(set(picture.convert("L").resize((60, 40)).tobytes())) > 10  # something is drawn
    assert "<svg" in (tmp_path / "accuracy_by_scale.svg").read_text(encoding="utf-8")
    with (tmp_path / "accuracy_by_scale.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["scale"] for row in rows] == ["0.0", "0.8", "1.6"]
    assert [float(row["paper"]) for row in rows] == [0.0, 1.0, 0.5]
    assert float(rows[2]["paper_low"]) == pytest.approx(0.150036, abs=1e-5)
