"""The command line: published flags mean what they say, and a mistake gets one line with the fix."""

import os
import subprocess
import sys

import pytest

from hint_grpo.machine.errors import RankError, UserError, run_main
from hint_grpo.machine.hardware import num_local_processes
from hint_grpo.training.command_line import parse


@pytest.fixture
def flags(world, tmp_path):
    """The published command's flags on the toy world, as a function of replacements; None leaves a flag out."""

    def build(**changes):
        values = {
            "model_name_or_path": f"{world.models['Qwen2.5-VL']}/",
            "data_path": f"{world.train_data}/",
            "dataset_name": "LLaVA-CoT-100k",
            "max_prompt_length": 8192,
            "max_completion_length": 768,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 1,
            "num_groups": 2,
            "num_generations": 4,
            "logging_steps": 1,
            "torch_dtype": "bfloat16",
            "gradient_checkpointing": "true",
            "attn_implementation": "sdpa",
            "max_pixels": 2359296,
            "save_total_limit": 16,
            "num_train_epochs": 2,
            "eval_strategy": "no",
            "reward_funcs": "accuracy",
            "use_vllm": "true",
            "vllm_gpu_memory_utilization": 0.6,
            "save_steps": 500,
            "save_only_model": "true",
            "output_dir": str(tmp_path / "run"),
            "use_cpu": "true",
        } | changes
        return [word for name, value in values.items() if value is not None for word in (f"--{name}", str(value))]

    return build


def test_published_flags_mean_what_they_say(flags):
    script, training, model = parse([*flags(), "--bf16"])
    assert (training.prompts_per_device, training.per_device_train_batch_size) == (1, 4)
    assert training.generation_batch_size == 4
    assert (training.num_groups, training.policy.num_levels) == (2, 2)
    assert (training.max_prompt_length, training.max_completion_length) == (8192, 768)
    assert (model.dtype, training.rollout_dtype) == ("float32", "bfloat16")  # without DeepSpeed: see test_precision.py
    assert (training.bf16, training.gradient_checkpointing, training.save_only_model) == (True, True, True)
    assert (training.max_pixels, training.vllm_gpu_memory_utilization) == (2359296, 0.6)
    assert script.reward_funcs == ["accuracy"]


def test_the_papers_constants_are_the_defaults(flags):
    _, training, _ = parse(flags(num_groups=None, num_generations=None, torch_dtype=None))
    assert (training.beta, training.loss_type, training.temperature) == (0.04, "grpo", 0.9)
    assert (training.scale_rewards, training.num_iterations, training.learning_rate) == ("group", 1, 1e-6)
    assert (training.num_groups, training.num_train_epochs) == (3, 2)
    assert not training.use_bias_correction_kl
    assert not training.bf16  # on a CPU, where it was not asked for


def test_prompts_are_counted_not_completions(flags):
    _, training, _ = parse(flags(per_device_train_batch_size=3, num_generations=5))
    assert (training.prompts_per_device, training.per_device_train_batch_size) == (3, 15)


def test_the_batch_arithmetic_counts_steps_per_generation_and_iterations(flags):
    from hint_grpo.training.run import batch_lines

    def said(**changes):
        return batch_lines(parse(flags(per_device_train_batch_size=3, gradient_accumulation_steps=2, **changes))[1])

    assert said() == [
        "a step: 3 prompt(s) x 2 accumulation x 1 process(es) = 6 prompts, 4 completions each = 24 completions"
    ]
    (_, generation) = said(steps_per_generation=8, num_iterations=3)
    # 3 x 8 prompts are sampled at a time; they last 8 micro-batches, three times over: 24 / 2 accumulated = 12 steps
    assert generation == (
        "a generation: 3 prompt(s) x 8 steps_per_generation x 1 process(es) = 24 prompts sampled = 96 completions, "
        "trained on 3 time(s): one generation for 12 step(s)"
    )


def test_yaml_and_lora(flags, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("num_groups: 4\nhint_policy: adaptive\nuse_peft: true\nlora_r: 8\n")
    _, training, model = parse(["--config", str(recipe), *flags(num_groups=None)])
    assert training.policy.num_levels == 4
    assert (model.use_peft, model.lora_r) == (True, 8)


def test_hint_policies(flags):
    assert parse(flags(hint_policy="none"))[1].policy.num_levels == 1
    assert parse(flags(hint_policy="fixed", hint_ratio=0.5))[1].policy.ratio == 0.5


def test_a_context_without_room_for_a_prompt_is_refused(flags):
    from types import SimpleNamespace

    from hint_grpo.rollout.prompting import length_limits

    _, training, _ = parse(flags(max_completion_length=768, max_prompt_length=200))
    text = SimpleNamespace(max_position_embeddings=32768)
    config = SimpleNamespace(get_text_config=lambda: text)
    assert length_limits(config, training).context_length == 200 + 544 + 768
    text.max_position_embeddings = 700
    with pytest.raises(UserError, match=r"700 tokens.*--max_completion_length 768"):
        length_limits(config, training)


def test_processes_of_this_node_by_launcher(monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert num_local_processes() == 1
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(UserError, match="torchrun"):
        num_local_processes()
    monkeypatch.setenv("LOCAL_SIZE", "4")  # DeepSpeed's launcher
    assert num_local_processes() == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # torchrun
    assert num_local_processes() == 2


def test_which_rank_prints_an_error(monkeypatch, capsys):
    def said(rank: int, local_rank: int, error: Exception) -> str:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("LOCAL_RANK", str(local_rank))

        def main():
            raise error

        with pytest.raises(SystemExit, match="2"):
            run_main(main)
        return capsys.readouterr().err

    assert said(0, 0, UserError("a\nb")) == "error: a b\n"
    assert said(3, 3, UserError("a")) == ""  # rank 0 prints it
    assert said(8, 0, UserError("a")) == "error (rank 8): a\n"  # another node may lack what the first one has
    assert said(3, 3, RankError("a")) == "error (rank 3): a\n"


@pytest.mark.parametrize("script", ["train_model.py", "test_model.py"])
def test_help_whose_reader_is_gone(repository, script):
    """As with `--help | head -1`, deterministically: the pipe is closed before anything is written."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end) as closed_pipe:
        run = subprocess.run(
            [sys.executable, script, "--help"],
            stdout=closed_pipe,
            stderr=subprocess.PIPE,
            text=True,
            cwd=repository,
            check=False,
        )
    assert run.returncode == (141 if script == "train_model.py" else 0)  # argparse ignores it by itself
    assert run.stderr == ""


def test_a_broken_pipe_elsewhere_is_an_error():
    def main():
        raise BrokenPipeError("of another process")

    with pytest.raises(BrokenPipeError, match="of another process"):
        run_main(main)


def test_exit_code_and_a_single_line(flags, repository, tmp_path):
    (tmp_path / "train.jsonl").write_text('{"id": "1", "image": "coco/1.png", "conversations": []}\n')
    command = [sys.executable, str(repository / "train_model.py"), *flags(data_path=tmp_path, torch_dtype="float32")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)
    assert run.returncode == 2, run.stderr
    lines = [line for line in run.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "train.jsonl" in lines[0]
    assert "Traceback" not in run.stderr


def test_check_data_lists_what_cannot_be_used(flags, repository, tmp_path):
    from PIL import Image

    (tmp_path / "good.png").parent.mkdir(exist_ok=True)
    Image.new("RGB", (84, 84)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:50])
    steps = '"question": "How many?", "solution": "2", "reasoning_steps": ["One.", "Two."]}\n'
    (tmp_path / "own.jsonl").write_text('{"image": "good.png", ' + steps + '{"image": "bad.png", ' + steps)
    words = flags(data_path=tmp_path, dataset_name="own.jsonl", torch_dtype="float32")
    command = [sys.executable, str(repository / "train_model.py"), *words, "--check_data"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)
    assert run.returncode == 1, run.stderr
    assert "own.jsonl:2" in run.stdout
    assert "checked 2 samples" in run.stdout
    assert not (tmp_path / "run").exists()
