"""test_model.py --benchmark on the toy model (hf backend): runs, resume, --rescore, reports, and what ends a run early."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_datasets import ROWS, write_copy

from hint_grpo.evaluation.cli import output_folder, parse, settings_from
from hint_grpo.evaluation.compare import compare, results_of
from hint_grpo.evaluation.questions import check_data
from hint_grpo.evaluation.results import Result, read_results, write_results
from hint_grpo.evaluation.settings import EvaluationSettings
from hint_grpo.machine.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
# One run of each way of judging is fast enough for every day.
DAILY = ("mathverse", "mmvet")
LATER = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("mathvista", "mmstar", "mathvision", "mmbench", "ai2d", "hallusionbench")
]


def test_model(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "test_model.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


test_model.__test__ = False  # type: ignore[attr-defined]


def flags(world, name: str, copy: Path, output: Path, *more: object) -> list[object]:
    return [
        *("--model_path", world.models["Qwen2.5-VL"], "--benchmark", name, "--data_path", copy),
        *("--output_dir", output, "--backend", "hf", "--max_new_tokens", "12", *more),
    ]


def settings(name: str | None, copy: Path, output: Path, **more) -> EvaluationSettings:
    return EvaluationSettings(model_path=Path("m"), data_path=copy, benchmark=name, output_dir=output, **more)


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder (copy/, output/) and the stdout of MathVerse at two scales."""
    folder = tmp_path_factory.mktemp("finished")
    copy = write_copy("mathverse", folder / "copy")
    done = test_model(*flags(world, "mathverse", copy, folder / "output", "--scale", "0.0", "0.8"))
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_run_reports_as_geoqas(finished: tuple[Path, str]) -> None:
    folder, stdout = finished
    lines = stdout.splitlines()
    assert re.fullmatch(r"Accuracy: \d{1,3}\.\d\d%", lines[-1])
    for scale in ("0.0", "0.8"):
        assert re.search(rf"scale-{scale} +3 ", stdout)
        results = read_results(folder / f"output/scale-{scale}/results.jsonl")
        assert [(one.id, one.ground_truth, one.judging.judge) for one in results.values()] == [
            ("1", "C", "choice"),
            ("5", "C", "choice"),
            ("6", "2\\sqrt{3}", "value"),
        ]
        assert all((folder / "output" / one.image_path).is_file() for one in results.values())
        summary = json.loads((folder / f"output/scale-{scale}/summary.json").read_text())
        assert {name: group["num_questions"] for name, group in summary["breakdown"].items()} == {
            "Text Dominant": 2,
            "Vision Only": 1,
        }
        assert summary["made_with"]["benchmark"] == "mathverse"
        assert (
            sum(group["num_correct_paper"] for group in summary["breakdown"].values()) == summary["num_correct_paper"]
        )
    assert re.search(r"scale-0.8, by heading:\n  Text Dominant .* of 2\n  Vision Only .* of 1\n", stdout)
    assert "MathVerse testmini" in stdout
    assert (folder / "output/accuracy_by_scale.png").stat().st_size > 1000


def test_a_finished_run_is_read_again_without_a_model(world, finished: tuple[Path, str]) -> None:
    folder, stdout = finished
    files = [folder / f"output/scale-{scale}/results.jsonl" for scale in ("0.0", "0.8")]
    before = [file.read_bytes() for file in files]
    log = (folder / "output/worker-0.log").stat().st_size
    done = test_model(*flags(world, "mathverse", folder / "copy", folder / "output", "--scale", "0.0", "0.8"))
    assert done.stdout == stdout
    assert [file.read_bytes() for file in files] == before
    assert (folder / "output/worker-0.log").stat().st_size == log


def test_answers_to_pictures_that_were_saved_as_img_stay_valid(
    world, finished: tuple[Path, str], tmp_path: Path
) -> None:
    output = shutil.copytree(finished[0] / "output", tmp_path / "output")
    path = output / "scale-0.0/results.jsonl"
    new = path.read_bytes()
    for file in (output / "images").iterdir():
        file.rename(file.with_suffix(".img"))
    path.write_bytes(new.replace(b".png", b".img").replace(b".jpeg", b".img"))
    log = (output / "worker-0.log").stat().st_size
    done = test_model(*flags(world, "mathverse", finished[0] / "copy", output, "--scale", "0.0"))
    assert done.returncode == 0, done.stderr
    assert (output / "worker-0.log").stat().st_size == log  # nothing was decoded
    assert path.read_bytes() == new


def test_rescore_needs_neither_model_nor_data(finished: tuple[Path, str], tmp_path: Path) -> None:
    path = tmp_path / "scale-0.0/results.jsonl"
    path.parent.mkdir()
    lines = (finished[0] / "output/scale-0.0/results.jsonl").read_text(encoding="utf-8").splitlines()
    results = [json.loads(line) for line in lines]
    for result, answer in zip(results, ("60°", "B", "2√3"), strict=True):
        result |= {"completion": f"<think>so</think><answer>{answer}</answer>", "correct_strict": False}
    path.write_text("".join(json.dumps(result) + "\n" for result in results), encoding="utf-8")
    done = test_model("--rescore", "--output_dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [result.correct_strict for result in read_results(path).values()] == [True, False, True]
    assert re.search(r"Text Dominant +\S+ paper +100\.00 strict  of 2\n +Vision Only +0\.00 paper", done.stdout)


def test_mmvet_ends_with_the_file_for_its_evaluator(world, tmp_path: Path) -> None:
    copy, output = write_copy("mmvet", tmp_path / "copy"), tmp_path / "output"
    done = test_model(*flags(world, "mmvet", copy, output, "--scale", "0.0", "0.8"))
    assert done.returncode == 0, done.stderr
    file = output / "scale-0.8/completions.json"
    assert done.stdout.splitlines()[-1] == f"For the official evaluator: {file}"
    assert "Accuracy" not in done.stdout
    results = read_results(output / "scale-0.8/results.jsonl")
    assert json.loads(file.read_text(encoding="utf-8")) == {id: one.completion for id, one in results.items()}
    assert list(results) == ["v1_0", "v1_1"]
    assert not (output / "accuracy_by_scale.png").exists()
    file.unlink()
    again = test_model("--rescore", "--output_dir", output)
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
    assert json.loads(file.read_text(encoding="utf-8")).keys() == results.keys()


@pytest.mark.parametrize("name", LATER)
def test_every_benchmark_runs(world, tmp_path: Path, name: str) -> None:
    copy = write_copy(name, tmp_path / "copy")
    done = test_model(*flags(world, name, copy, tmp_path / "output"))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"Accuracy: \d{1,3}\.\d\d%", done.stdout.splitlines()[-1])
    skipped = {"mmbench": r" \(\+1 skipped\)", "hallusionbench": r" \(\+1 skipped\)"}
    count = len(ROWS[name]) - (name in skipped)
    assert re.search(rf"scale-0.0 +{count}{skipped.get(name, ' ')} ", done.stdout)


def test_the_runs_above_are_of_every_benchmark() -> None:
    assert sorted([*DAILY, *(parameter.values[0] for parameter in LATER)]) == sorted(ROWS)


def test_a_missing_column_is_one_line_before_any_model(world, tmp_path: Path) -> None:
    copy = write_copy("mathvista", tmp_path / "copy", without="decoded_image")
    done = test_model(*flags(world, "mathvista", copy, tmp_path / "output"))
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert "has no column decoded_image; its columns are pid, question, image, choices" in line
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "output").exists()


def test_check_data(world, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = write_copy("hallusionbench", tmp_path / "copy")
    given = settings_from(parse([str(flag) for flag in flags(world, "hallusionbench", copy, tmp_path / "output")]))
    assert check_data(given) == 0
    told = capsys.readouterr().out
    assert "--benchmark hallusionbench: 2 questions\n  left out, rows without a picture: 1\n" in told


def test_the_flags_of_a_benchmark() -> None:
    given = settings_from(parse(["--model_path", "a/model", "--benchmark", "ai2d"]))
    assert (given.data_path, given.output) == (None, Path("output/eval/model/ai2d"))
    assert output_folder(parse(["--rescore", "--model_path", "a/model", "--benchmark", "ai2d"])) == given.output
    with pytest.raises(UserError, match=r"either --prompt_path .* or --benchmark"):
        settings_from(parse(["--model_path", "m", "--benchmark", "ai2d", "--prompt_path", "p", "--data_path", "d"]))
    with pytest.raises(UserError, match=r"--benchmark geo is not known.*mathvista"):
        parse(["--model_path", "m", "--benchmark", "geo"])
    with pytest.raises(UserError, match="give either"):
        settings(None, Path("d"), Path("o"))


def test_answers_that_were_not_judged_are_not_compared(tmp_path: Path) -> None:
    from hint_grpo.data.questions import Judging

    result = Result("v1_0", "a.png", "q", "a", "text", None, False, False, 3, "stop", Judging("none"))
    write_results(tmp_path / "results.jsonl", [result])
    results = results_of(tmp_path)
    with pytest.raises(UserError, match="not judged here"):
        compare(results, results, "paper")
