"""test_model.py on the toy world as a user runs it (hf backend), and `run_evaluation` as other programs do."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from hint_grpo.evaluation.cli import parse, settings_from
from hint_grpo.evaluation.questions import check_data
from hint_grpo.evaluation.rescore import rescore
from hint_grpo.evaluation.results import Result, read_results
from hint_grpo.evaluation.run import run_evaluation
from hint_grpo.evaluation.settings import EvaluationSettings

ROOT = Path(__file__).resolve().parents[2]
NUM_QUESTIONS = 6
NEW_TOKENS = 64  # enough for an answer about three discs, too few for one about six


def flags(world, output: Path, *more: str) -> list[str]:
    return [
        *("--model_path", f"{world.models['Qwen2.5-VL']}/", "--data_path", f"{world.test_data}/"),
        *("--prompt_path", str(world.test_prompts), "--output_dir", str(output)),
        *("--backend", "hf", "--max_new_tokens", str(NEW_TOKENS), "--limit", str(NUM_QUESTIONS), *more),
    ]


def test_model(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "test_model.py", *arguments], cwd=ROOT, capture_output=True, text=True)


test_model.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The output folder and the stdout of a whole run at two scales."""
    output = tmp_path_factory.mktemp("finished")
    done = test_model(*flags(world, output, "--scale", "0.0", "0.8"))
    assert done.returncode == 0, done.stderr
    return output, done.stdout


@pytest.fixture
def output(finished: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of that folder, to be changed."""
    return Path(shutil.copytree(finished[0], tmp_path / "output"))


def settings(world, output: Path, **more) -> EvaluationSettings:
    values = {
        "model_path": world.models["Qwen2.5-VL"],
        "data_path": world.test_data,
        "prompt_path": world.test_prompts,
        "output_dir": output,
        "backend": "hf",
        "max_new_tokens": NEW_TOKENS,
        "limit": NUM_QUESTIONS,
        "scales": (0.0, 0.8),
    }
    return EvaluationSettings(**(values | more))


def log_size(output: Path) -> int:
    """Grows with every process that loads the model."""
    return (output / "worker-0.log").stat().st_size


def test_what_a_run_leaves(world, finished: tuple[Path, str]) -> None:
    output, stdout = finished
    assert f"results: {output}; to look at them, open {output}/report.html" in stdout.splitlines()
    assert "scale-0.8" in (output / "report.html").read_text(encoding="utf-8")
    assert re.fullmatch(r"Accuracy: \d{1,3}\.\d\d%", stdout.splitlines()[-1])
    rows = [json.loads(line) for line in world.test_prompts.read_text(encoding="utf-8").splitlines()[:NUM_QUESTIONS]]
    for scale in ("0.0", "0.8"):
        assert re.search(rf"scale-{scale} +{NUM_QUESTIONS} ", stdout)
        lines = (output / f"scale-{scale}" / "results.jsonl").read_text(encoding="utf-8").splitlines()
        results = [json.loads(line) for line in lines]
        # Of a question judged by its value the line says nothing more.
        names = [field.name for field in fields(Result) if field.name != "judging"]
        assert [list(result) for result in results] == [names] * NUM_QUESTIONS
        assert [result["question"] for result in results] == [row["question"] for row in rows]
        assert [result["ground_truth"] for result in results] == [row["ground_truth"] for row in rows]
        assert all(0 < result["num_tokens"] <= NEW_TOKENS for result in results)
        assert all(result["finish_reason"] == "stop" or result["num_tokens"] == NEW_TOKENS for result in results)
        assert {result["finish_reason"] for result in results} == {"stop", "length"}
        summary = json.loads((output / f"scale-{scale}" / "summary.json").read_text())
        assert summary["num_tokens"] == sum(result["num_tokens"] for result in results)
        assert 0 < summary["num_correct_paper"] == sum(result["correct_paper"] for result in results) < NUM_QUESTIONS
        assert summary["tokens_per_second"] > 0
        assert summary["made_with"]["versions"]["torch"]
        assert "core" in summary["made_with"]["machine"]
    assert [one["scale"] for one in json.loads((output / "summary.json").read_text())] == [0.0, 0.8]
    assert (output / "accuracy_by_scale.png").stat().st_size > 1000


def test_the_completions_are_the_decoders(world, finished: tuple[Path, str]) -> None:
    from hint_grpo.calibration.decoder import DecodeRequest
    from hint_grpo.calibration.load import load_decoder

    results = read_results(finished[0] / "scale-0.8" / "results.jsonl")
    decoder = load_decoder(world.models["Qwen2.5-VL"], backend="hf", max_new_tokens=NEW_TOKENS)
    requests = [
        DecodeRequest(result.id, result.question, str(world.test_data / result.image_path.removeprefix("./Geo170K/")))
        for result in results.values()
    ]
    expected = {completion.id: completion for completion in decoder.decode(requests, 0.8)}
    assert {id: result.completion for id, result in results.items()} == {id: c.text for id, c in expected.items()}
    assert {id: result.num_tokens for id, result in results.items()} == {
        id: len(c.token_ids) for id, c in expected.items()
    }


def test_a_finished_run_is_not_decoded_again(world, output: Path) -> None:
    path = output / "scale-0.8" / "results.jsonl"
    before, log = path.read_bytes(), log_size(output)
    summaries = run_evaluation(settings(world, output), show_progress=False)
    assert path.read_bytes() == before
    assert log_size(output) == log
    assert all(summary.tokens_per_second for summary in summaries)


def test_one_missing_answer_is_all_that_is_decoded(world, output: Path) -> None:
    path = output / "scale-0.8" / "results.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    marked = lines[0].replace('"completion": "', '"completion": "from the earlier run ')
    path.write_text("".join([marked, *lines[1:3], *lines[4:]]), encoding="utf-8")
    run_evaluation(settings(world, output), show_progress=False)
    assert path.read_text(encoding="utf-8") == "".join([marked, *lines[1:]])


def test_other_decoding_parameters_decode_again_and_say_so(
    world, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summaries = run_evaluation(settings(world, output, max_new_tokens=5, scales=(0.0,)), show_progress=False)
    assert (
        f"scale-0.0: the earlier run here was made with other max_new_tokens {NEW_TOKENS}, now 5"
        in capsys.readouterr().err
    )
    assert summaries[0].num_tokens <= 5 * NUM_QUESTIONS
    assert summaries[0].decoding["max_new_tokens"] == 5


def test_preset_released_decodes_again_and_says_so(world, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The toy's pictures leave nothing to resize: the answers are the same, and were decoded all the same."""
    log, before = log_size(output), read_results(output / "scale-0.0" / "results.jsonl")
    released = settings_from(parse(flags(world, output, "--preset", "released", "--dtype", "float32")))
    (summary,) = run_evaluation(released, show_progress=False)
    told = capsys.readouterr().err
    changed = f"dtype float32 (preset: bfloat16), max_new_tokens {NEW_TOKENS} (preset: 1024)"
    assert f"preset released; overridden: {changed}" in told
    assert "other picture_processing processor, now qwen_vl_utils" in told
    assert summary.decoding["picture_processing"] == "qwen_vl_utils"
    assert summary.made_with["preset"] == "released"
    assert summary.made_with["protocol"] == "released_evaluation"
    assert log_size(output) > log
    after = read_results(output / "scale-0.0" / "results.jsonl")
    assert {id: r.completion for id, r in after.items()} == {id: r.completion for id, r in before.items()}


def test_a_changed_ground_truth_is_scored_anew_without_a_model(world, output: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in world.test_prompts.read_text(encoding="utf-8").splitlines()]
    prompts = tmp_path / world.test_prompts.name
    prompts.write_text("".join(json.dumps(row | {"ground_truth": 987}) + "\n" for row in rows), encoding="utf-8")
    log = log_size(output)
    summaries = run_evaluation(settings(world, output, prompt_path=prompts), show_progress=False)
    assert [summary.num_correct_paper for summary in summaries] == [0, 0]
    assert {result.ground_truth for result in read_results(output / "scale-0.0" / "results.jsonl").values()} == {"987"}
    assert log_size(output) == log


def test_rescore_needs_no_model(output: Path) -> None:
    path = output / "scale-0.8" / "results.jsonl"
    results = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for place, result in enumerate(results):  # stale verdicts on completions that are right and wrong by turns
        gold = result["ground_truth"]
        result["completion"] = f"<think>so</think><answer>{gold if place % 2 == 0 else 'none'}</answer>"
        result["correct_paper"] = result["correct_strict"] = place % 2 == 1
    path.write_text("".join(json.dumps(result) + "\n" for result in results), encoding="utf-8")
    done = test_model("--rescore", "--output_dir", str(output), "--scale", "0.8")
    assert done.returncode == 0, done.stderr
    assert f"{NUM_QUESTIONS} judged differently" in done.stdout
    again = read_results(path)
    assert [result.correct_strict for result in again.values()] == [True, False] * (NUM_QUESTIONS // 2)
    assert [result.num_tokens for result in again.values()] == [result["num_tokens"] for result in results]


def test_a_page_that_cannot_be_written_changes_neither_the_last_line_nor_the_exit_code(output: Path) -> None:
    (output / "report.html").unlink()
    arguments = ("--rescore", "--output_dir", str(output), "--scale", "0.8")
    without = test_model(*arguments, "--no_report")
    assert (without.returncode, without.stderr) == (0, "")
    assert not (output / "report.html").exists()
    (output / "report.html").mkdir()
    done = test_model(*arguments)
    assert (done.returncode, done.stdout) == (0, without.stdout)
    assert done.stderr.startswith(f"warning: {output}/report.html was not written: ")
    assert done.stderr.count("\n") == 1


def test_rescore_of_an_unchanged_run_changes_no_byte(output: Path) -> None:
    files = sorted(output.glob("scale-*/*.json*"))
    before = [file.read_bytes() for file in files]
    assert len(files) == 6
    summaries = rescore(output)
    assert [summary.name for summary in summaries] == ["scale-0.0", "scale-0.8"]
    assert [file.read_bytes() for file in files] == before


def test_a_blind_run_has_its_own_folder_and_sees_no_picture(world, output: Path) -> None:
    seen = (output / "scale-0.0" / "results.jsonl").read_bytes()
    (summary,) = run_evaluation(settings(world, output, scales=(0.0,), no_image=True), show_progress=False)
    assert summary.name == "scale-0.0-no_image"
    assert (output / "scale-0.0" / "results.jsonl").read_bytes() == seen
    blind = read_results(output / "scale-0.0-no_image" / "results.jsonl")
    by_question: dict[str, set[str]] = {}
    for result in blind.values():
        by_question.setdefault(result.question, set()).add(result.completion)
    assert all(len(completions) == 1 for completions in by_question.values())
    assert len(blind) == NUM_QUESTIONS


def test_counting_rows_with_whole_numbers_and_fewer_questions_than_processes(world, tmp_path: Path) -> None:
    row = json.loads(world.test_prompts.read_text(encoding="utf-8").splitlines()[0])
    image_path = row["image_path"].replace("Geo170K/", "")
    prompts = tmp_path / "counting.jsonl"
    prompts.write_text(json.dumps({"image_path": image_path, "question": row["question"], "ground_truth": 4}) + "\n")
    output = tmp_path / "output"
    run_evaluation(settings(world, output, prompt_path=prompts, scales=(0.0,), num_processes=2), show_progress=False)
    (result,) = read_results(output / "scale-0.0" / "results.jsonl").values()
    assert result.ground_truth == "4"
    assert result.image_path == image_path
    assert not (output / "worker-1.log").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--model_path", "/no/such/model"), "--model_path /no/such/model is not a folder"),
        (("--data_path", "/no/such/data"), "--data_path /no/such/data"),
        (("--prompt_path", "eval/prompts/no_such_file.jsonl"), "eval/prompts/no_such_file.jsonl does not exist"),
        (("--limit", "0"), "1 or more"),
        (("--scale", "nan"), "0 or more"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(world, tmp_path: Path, change: tuple[str, str], words: str) -> None:
    done = test_model(*flags(world, tmp_path / "output"), *change)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "output").exists()


def test_what_only_a_worker_can_see_is_one_line_too(world, tmp_path: Path) -> None:
    model = Path(shutil.copytree(world.models["Qwen2.5-VL"], tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    done = test_model(*flags(world, tmp_path / "output"), "--model_path", str(model))
    assert done.returncode == 2
    assert "is a llama model" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_check_data_and_skip_bad(world, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, rows = world.test_prompts.read_text(encoding="utf-8").splitlines()[:2], []
    rows = [
        good[0],
        "{broken",
        good[1].replace("1.png", "no_such.png"),
        good[1].replace("ground_truth", "truth"),
        good[1],
    ]
    too_long = json.loads(good[0]) | {"question": "how many? " * 2000}
    prompts = tmp_path / "questions.jsonl"
    prompts.write_text("\n".join([*rows, json.dumps(too_long)]) + "\n", encoding="utf-8")
    bad = settings(world, tmp_path / "output", prompt_path=prompts, limit=None, scales=(0.0,))
    assert check_data(bad) == 1
    told = capsys.readouterr().out
    for place in ("questions.jsonl:2: not JSON", "questions.jsonl:3", "questions.jsonl:4", "questions.jsonl:6: prompt"):
        assert place in told
    assert check_data(replace(bad, skip_bad=True)) == 0
    (summary,) = run_evaluation(replace(bad, skip_bad=True), show_progress=False)
    assert (summary.num_questions, summary.num_skipped) == (2, 4)
    assert check_data(settings(world, tmp_path / "output")) == 0


def test_an_empty_question_file_is_one_line_and_exit_code_2(world, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    done = test_model(*flags(world, tmp_path / "output"), "--prompt_path", str(tmp_path / "empty.jsonl"))
    assert done.returncode == 2
    assert "holds no question" in done.stderr


def test_a_second_run_in_the_same_folder_is_refused(world, output: Path) -> None:
    from hint_grpo.machine.files import only_run_in

    with only_run_in(output):
        done = test_model(*flags(world, output))
    assert done.returncode == 2
    assert "another run is writing" in done.stderr
