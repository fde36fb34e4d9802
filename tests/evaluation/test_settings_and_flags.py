"""test_model.py's flags: the published commands, the defaults, and one clear line for every mistake."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from hint_grpo.evaluation.cli import check, output_folder, parse, settings_from, with_local_model
from hint_grpo.evaluation.settings import EvaluationSettings, preset_line
from hint_grpo.machine.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = (
    "--model_path /PATH/TO/Hint-GRPO-Qwen2-VL-7B/ --data_path /PATH/TO/Geo170K/ "
    "--prompt_path ./eval/prompts/geoqa_test_prompts.jsonl"
)


def settings(flags: str) -> EvaluationSettings:
    return settings_from(parse(f"{PUBLISHED} {flags}".split()))


def test_the_published_commands() -> None:
    given = settings("--scale 0.8")
    assert given.scales == (0.8,)
    assert given.max_new_tokens == 1024
    assert given.backend == "auto"
    assert given.output == Path("output/eval/Hint-GRPO-Qwen2-VL-7B/geoqa_test_prompts")
    assert given.scale_folder(0.8).name == "scale-0.8"
    assert settings("").scales == (0.0,)


def test_several_scales_and_gpus() -> None:
    given = settings("--scale 0 0.8 -0.0 1.6 0.80 --gpu_ids 0,2,5 --output_dir out")
    assert given.distinct_scales == (0.0, 1.6, 0.8)  # the last one given stays the last
    assert [given.scale_folder(scale) for scale in given.distinct_scales[:2]] == [
        Path("out/scale-0.0"),
        Path("out/scale-1.6"),
    ]
    assert given.gpu_ids == (0, 2, 5)


def test_preset_released() -> None:
    given = settings("--preset released")
    assert (given.picture_processing, given.dtype, given.max_new_tokens) == ("qwen_vl_utils", "bfloat16", 1024)
    assert given.protocol == "released_evaluation"
    assert given.backend == "auto"
    assert preset_line(given.preset, asdict(given)) == "preset released; overridden: nothing"


def test_a_flag_wins_over_the_preset() -> None:
    given = settings("--max_pixels 401408 --preset released --picture_processing processor")
    assert (given.picture_processing, given.dtype, given.max_pixels) == ("processor", "bfloat16", 401408)
    assert preset_line(given.preset, asdict(given)) == (
        "preset released; overridden: picture_processing processor (preset: qwen_vl_utils), "
        "max_pixels 401408 (preset: None)"
    )


def test_the_other_presets() -> None:
    for flags in ("", "--preset default", "--preset paper"):
        given = settings(flags)
        assert (given.picture_processing, given.dtype, given.max_new_tokens) == ("processor", "auto", 1024)
        assert given.protocol == "paper"
    assert preset_line("default", asdict(settings(""))) == "preset default"


def test_a_blind_run_has_its_own_folder() -> None:
    assert settings("--no_image --output_dir out").scale_folder(0.0) == Path("out/scale-0.0-no_image")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--scale -1", "0 or more"),
        ("--scale nan", "0 or more"),
        ("--scale inf", "0 or more"),
        ("--scale", "expected at least one argument"),
        ("--scale much", "invalid float"),
        ("--no_image --scale 0.8", "nothing to calibrate"),
        ("--limit 0", "1 or more"),
        ("--batch_size 0", "1 or more"),
        ("--max_new_tokens -5", "1 or more"),
        ("--gpu_ids 0,0", "each GPU once"),
        ("--gpu_ids all", "not a list of GPU numbers"),
        ("--backend sglang", "invalid choice"),
        ("--preset authors", "invalid choice"),
        ("--picture_processing pil", "invalid choice"),
        ("--scales 0.8", "unknown flag --scales; did you mean --scale\\?"),
        ("--num_process 2", "did you mean --num_processes\\?"),
        ("0.8", "unknown 0.8"),
        ("--rescore --check_data", "not allowed"),
    ],
)
def test_a_mistake_is_named(flags: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        settings(flags)


def test_a_missing_path_is_named() -> None:
    with pytest.raises(UserError, match="--data_path is missing"):
        parse(["--model_path", "m", "--prompt_path", "p"])


def test_rescore_needs_the_output_folder_only() -> None:
    assert output_folder(parse(["--rescore", "--output_dir", "out"])) == Path("out")
    with pytest.raises(UserError, match="--output_dir"):
        parse(["--rescore"])


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['test_model.py', '--help']\n"
        "try:\n    runpy.run_path('test_model.py', run_name='__main__')\n"
        "except SystemExit as end:\n    assert end.code == 0, end.code\n"
        "heavy = {'torch', 'transformers', 'vllm', 'numpy', 'PIL', 'sympy', 'matplotlib', 'datasets'} & sys.modules.keys()\n"
        "print('HEAVY', sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--scale" in done.stdout
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_a_wrong_flag_is_one_line_and_exit_code_2() -> None:
    done = subprocess.run([sys.executable, "test_model.py", "--scale", "x"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The flags of a command that is right, on files that need not be real."""
    for folder in ("model", "data", "text"):
        (tmp_path / folder).mkdir()
    for folder in ("model", "text"):
        (tmp_path / folder / "config.json").write_text('{"model_type": "qwen2_vl"}')
    (tmp_path / "model" / "preprocessor_config.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_text("weights")
    (tmp_path / "questions.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return "--model_path model --data_path data --prompt_path questions.jsonl --output_dir out"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--gpu_ids 0", "--gpu_ids 0: no GPU can be used here"),
        ("--num_processes 0", "1 or more"),
        ("--model_path owner/model", "the Hugging Face Hub cannot be reached"),
        ("--model_path nothing", "--model_path nothing is not a folder"),
        ("--model_path text", "is not a vision-language model"),
        ("--model_path data", "config.json"),
        ("--data_path nothing", "--data_path nothing does not exist"),
        ("--prompt_path nothing.jsonl", "nothing.jsonl does not exist"),
        ("--output_dir questions.jsonl", "is a file"),
        ("--output_dir /proc/out", "cannot write to /proc"),
    ],
)
def test_mistakes_that_need_no_model_are_reported_before_torch(place: str, flags: str, words: str) -> None:
    from hint_grpo.machine.hardware import count_gpus

    if count_gpus() and flags.startswith("--gpu_ids"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match=words):
        check(settings_from(parse(f"{place} {flags}".split())))
    check(settings_from(parse(place.split())))
    assert not Path("out").exists()


@pytest.mark.parametrize("flags", ["--output_dir /proc/out", "--num_process 2", "--model_path owner/model"])
def test_it_is_one_line_before_torch(place: str, flags: str) -> None:
    command = [sys.executable, "-X", "importtime", str(ROOT / "test_model.py"), *f"{place} {flags}".split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2
    assert len(said) == 1
    assert not {"torch", "transformers", "vllm", "datasets"} & imported


def test_a_hub_name_keeps_its_name_for_the_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model that is in the cache already, where no network is."""
    snapshot = tmp_path / "models--owner--model" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0123")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    given = with_local_model(settings_from(parse(["--model_path", "owner/model", "--benchmark", "mmstar"])))
    assert given.model_path == snapshot
    assert given.output == Path("output/eval/model/mmstar")
