"""The table and the figures' numbers, from summaries and ledgers written by hand."""

import csv
import json
from dataclasses import replace

import pytest
from PIL import Image

from eval.reproduce.recipes import TableRow
from eval.reproduce.report import draw_figures, row_result, save_table_csv, table_text
from eval.reproduce.steps import evaluations_both_ways, final_evaluation


def ledger_lines(*prompts: tuple[int, int, bool, list[float]]) -> str:
    """(step, level, valid, rewards at level 0) of each prompt."""
    return "".join(
        json.dumps(
            {
                "step": step,
                "id": str(number),
                "level": level,
                "hint_steps": level,
                "num_steps": 3,
                "hint_tokens": 0,
                "valid": valid,
                "rewards": {"0": rewards, str(level): [0.0, 1.0] if valid else rewards},
                "accuracy": {"0": rewards, str(level): [0.0, 1.0] if valid else rewards},
                "sampled_tokens": {"0": 8},
                "skipped_levels": 0,
            }
        )
        + "\n"
        for number, (step, level, valid, rewards) in enumerate(prompts)
    )


@pytest.fixture
def grpo(experiment, write_training):
    """Plain GRPO, finished: of four prompts in two steps it learned from one in the first and from both in the second."""
    folder = write_training(experiment, "grpo", 2, checkpoints=(1, 2))
    lines = ledger_lines((1, 0, True, [0.0, 1.0]), (1, 0, False, [0.0, 0.0]), (2, 0, True, [1.0, 0.0]))
    (folder / "hint_ledger.jsonl").write_text(lines + ledger_lines((2, 0, True, [1.0, 0.0])))
    return folder


def rows_of(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table(experiment, grpo, write_training, write_summary, tmp_path) -> None:
    write_summary(final_evaluation("grpo", experiment), 0.0, 3, 1)
    write_training(experiment, "fixed_0.5", 4, checkpoints=(2,), finished=False)
    rows = [
        TableRow("grpo", "GRPO", "grpo", paper=38.46),
        TableRow("calibrated", "GRPO, scale 0.8", "grpo", scale=0.8),
        TableRow("fixed_0.5", "fixed alpha 0.5", "fixed_0.5"),
        TableRow("random_alpha", "random alpha", "random_alpha"),
    ]
    results = [row_result(row, experiment) for row in rows]
    shown = table_text(results).splitlines()
    assert len({len(line) for line in shown}) == 1  # aligned
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown[2:]]
    assert cells == [
        ["GRPO", "default", "38.46", "75.00 [10.00, 90.00]", "25.00 [20.00, 80.00]", "4", "0.750"],
        ["GRPO, scale 0.8", "default", "-", "not evaluated", "-", "-", "0.750"],
        ["fixed alpha 0.5", "default", "-", "training interrupted", "-", "-", "-"],
        ["random alpha", "default", "-", "training missing", "-", "-", "-"],
    ]
    save_table_csv(results, tmp_path / "table.csv")
    first, *others = rows_of(tmp_path / "table.csv")
    assert (first["paper"], first["accuracy_paper"], first["accuracy_strict_high"]) == ("38.46", "0.75", "0.8")
    assert [row["accuracy_paper"] for row in others] == ["", "", ""]


def test_rows_of_several_presets_stand_in_one_table(experiment, write_summary) -> None:
    released = replace(experiment, output_dir=experiment.output_dir / "preset_released", preset="released")
    row = TableRow("base", "base model", "base")
    write_summary(final_evaluation("base", released), 0.0, 2, 1)
    shown = table_text([row_result(row, experiment), row_result(row, released)]).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")][:4] for line in shown]
    assert cells == [
        ["base model", "default", "-", "not evaluated"],
        ["base model", "released", "-", "50.00 [10.00, 90.00]"],
    ]


def test_a_row_without_training_is_evaluated_alone(experiment, write_summary) -> None:
    write_summary(final_evaluation("base", experiment), 0.0, 1, 1)
    result = row_result(TableRow("base", "base model", "base", paper=30.63), experiment)
    assert (result.summary.accuracy_paper, result.utilization) == (0.25, None)


def test_figures_without_data_name_what_they_need(experiment) -> None:
    lines = draw_figures(experiment, [], ["grpo"])
    assert [line.split(" is not drawn")[0] for line in lines] == [
        "data_utilization.png",
        "text_bias.png",
        "accuracy_by_scale.png",
    ]
    assert not any((experiment.output_dir / "figures").iterdir())


def test_the_figures_and_the_numbers_beside_them(experiment, grpo, write_training, write_summary) -> None:
    main = write_training(experiment, "hint_grpo_m3", 2)
    (main / "hint_ledger.jsonl").write_text(
        ledger_lines((1, 1, True, [0.0, 0.0]), (1, 0, True, [0.0, 1.0]), (2, 2, True, [0.0, 0.0]))
    )
    right = {"base": 1, "checkpoint-1": 2, "final": 3}
    for run in ("base", "grpo"):
        for _, seeing, blind in evaluations_both_ways(run, experiment):
            number = right["base" if run == "base" else seeing.label]
            write_summary(seeing, 0.0, number, number - 1)
            write_summary(blind, 0.0, 1, 0)
    scales = final_evaluation("hint_grpo_m3", experiment, (0.0, 0.8))
    write_summary(scales, 0.0, 2, 2)
    write_summary(scales, 0.8, 3, 2)
    rows = [TableRow("m3", "M = 3", "hint_grpo_m3"), TableRow("calibrated", "scale 0.8", "hint_grpo_m3", 0.8)]

    draw_figures(experiment, rows, ["grpo"])

    folder = experiment.output_dir / "figures"
    utilization = rows_of(folder / "data_utilization.csv")
    assert [(row["run"], row["step"], row["data_utilization"]) for row in utilization] == [
        ("GRPO", "1", "0.5"),
        ("GRPO", "2", "1.0"),
        ("Hint-GRPO", "1", "1.0"),
        ("Hint-GRPO", "2", "1.0"),
    ]
    assert [row["data_utilization_level0"] for row in utilization] == ["0.5", "1.0", "0.5", "0.0"]
    assert [row["mean_level"] for row in utilization] == ["0.0", "0.0", "0.5", "2.0"]

    bias = rows_of(folder / "text_bias.csv")
    assert [(row["step"], row["with_paper"], row["without_paper"], row["with_strict"]) for row in bias] == [
        ("0", "0.25", "0.25", "0.0"),
        ("1", "0.5", "0.25", "0.25"),
        ("2", "0.75", "0.25", "0.5"),
    ]
    assert (bias[0]["run"], bias[0]["with_paper_low"], bias[0]["without_strict_high"]) == ("GRPO", "0.1", "0.8")

    by_scale = rows_of(folder / "accuracy_by_scale.csv")
    assert [(row["scale"], float(row["paper"]), float(row["strict"])) for row in by_scale] == [
        ("0.0", 0.5, 0.5),
        ("0.8", 0.75, 0.5),
    ]
    for name in ("data_utilization", "text_bias", "accuracy_by_scale"):
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 300
        assert (folder / f"{name}.svg").read_text().lstrip().startswith("<?xml")
