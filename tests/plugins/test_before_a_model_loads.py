"""train_model.py with plugins that do not work: one line, after the data is read and before a model loads."""

import hint_grpo.machine.stack  # noqa: F401

import sys

import pytest

from hint_grpo.machine.errors import UserError
from hint_grpo.training import command_line, run

FILE = """
def short(completions): return [1.0]
def unknown(completions, level): return [1.0] * len(completions)
def late(sample, progress, history): return [99]
def fine(completions, **columns): return [1.0] * len(completions)
def scorer(completion, solution): return None
"""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--reward_funcs", "FILE:short"], "--reward_funcs FILE:short: it returns 1 rewards for 4 completions"),
        (
            ["--reward_funcs", "accuracy", "FILE:unknown"],
            "--reward_funcs FILE:unknown: it needs 'level', which the data",
        ),
        (["--accuracy", "FILE:short"], "--accuracy FILE:short: it returns 1 rewards"),
        (["--scorer", "FILE:scorer"], "--scorer FILE:scorer: it returns None"),
        (["--hint_policy", "FILE:late"], "--hint_policy late: it gives 99: give whole numbers from 0 to"),
        (["--reward_funcs", "FILE:fine"], "the model would load now"),
    ],
)
def test_the_mistake_is_found_first(world, tmp_path, monkeypatch, flags, message):
    file = tmp_path / "mine.py"
    file.write_text(FILE)

    def load(*arguments, **more):
        raise UserError("the model would load now")

    monkeypatch.setattr(run, "make_trainer", load)
    words = ["--model_name_or_path", world.models["Qwen2.5-VL"], "--data_path", world.train_data, "--use_cpu", "true"]
    words += ["--output_dir", tmp_path / "out", *(word.replace("FILE", str(file)) for word in flags)]
    monkeypatch.setattr(sys, "argv", ["train_model.py", *map(str, words)])
    with pytest.raises(UserError) as caught:
        command_line.main()
    assert str(caught.value).startswith(message.replace("FILE", str(file)))
    assert "\n" not in str(caught.value)
