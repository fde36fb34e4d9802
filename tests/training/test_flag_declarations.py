"""The flags that are declared: --help lists them, and their types, defaults and choices are those of the libraries."""

import subprocess
import sys
from dataclasses import fields

import pytest

from hint_grpo.training.flag_help import GROUPS, help_lines
from hint_grpo.training.flag_values import BOOL_ALIASES, INTERVALS, UNUSED, check_value, choices
from hint_grpo.training.flags import NOT_FLAGS, UNKNOWN, declared_flags


@pytest.mark.parametrize("flag", ["--help", "--help_all"])
def test_help_imports_nothing_heavy(flag, repository) -> None:
    command = [sys.executable, "-X", "importtime", "train_model.py", flag]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0
    assert not {"torch", "transformers", "trl", "numpy", "huggingface_hub"} & imported
    assert "--hint_injection answer|query" in done.stdout
    assert ("--adam_beta1" in done.stdout) == (flag == "--help_all")


def test_help_lists_every_flag_of_this_project_first() -> None:
    short, long = list(help_lines(everything=False)), list(help_lines(everything=True))
    assert long[: len(short)] == short
    shown = {line.split()[0][2:] for line in short if line.startswith("  --")}
    assert shown >= {flag.name for flag in declared_flags().values() if flag.own}
    assert {name for names in GROUPS.values() for name in names} <= declared_flags().keys()
    shown = {line.split()[0][2:] for line in long if line.startswith("  --")}
    assert shown == declared_flags().keys() - UNUSED.keys()


def test_the_flags_are_those_of_the_dataclasses() -> None:
    """declared_flags reads source text; transformers' own parser reads the classes."""
    from trl import ModelConfig, TrlParser

    from hint_grpo.training.config import HintGRPOConfig, ScriptArguments

    classes = (ScriptArguments, HintGRPOConfig, ModelConfig)
    owners = {field.name: one.__name__ for one in classes for field in fields(one) if field.init}
    actions = {action.dest: action for action in TrlParser(classes)._actions if action.nargs != 0}
    assert declared_flags().keys() == actions.keys() - NOT_FLAGS == owners.keys() - NOT_FLAGS
    kinds = {int: "int", float: "float"}
    for flag in declared_flags().values():
        action = actions[flag.name]
        assert flag.owner == owners[flag.name]
        assert flag.default in (action.default, UNKNOWN) or flag.name == "debug", flag
        if flag.kind == "bool":
            assert action.type("true") is True, flag
        elif flag.kind in ("int", "float"):
            assert kinds[type(action.type("3"))] == flag.kind, flag
        if flag.many:
            assert action.nargs == "+" or flag.name in ("report_to", "optim_target_modules", "debug"), flag


def test_the_tables_name_flags_and_their_defaults_are_valid() -> None:
    flags = declared_flags()
    for table in (INTERVALS, UNUSED, BOOL_ALIASES, choices()):
        assert not table.keys() - flags.keys()
    for flag in flags.values():
        if flag.default not in (UNKNOWN, None):
            check_value(flag.name, flag.default)
    assert not {flag.name for flag in flags.values() if flag.own} & UNUSED.keys()


def test_choices_are_those_of_the_libraries() -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
    from transformers.trainer_utils import SchedulerType
    from transformers.training_args import OptimizerNames
    from trl import GRPOConfig

    assert set(choices()["optim"]) == {one.value for one in OptimizerNames}
    assert {one.value for one in SchedulerType} - set(choices()["lr_scheduler_type"]) == {
        "reduce_lr_on_plateau",
        "greedy",
    }
    assert set(choices()["report_to"]) == {"none", "all", *INTEGRATION_TO_CALLBACK}
    help_of = {field.name: field.metadata.get("help", "") for field in fields(GRPOConfig)}
    for name in ("loss_type", "vllm_importance_sampling_mode", "scale_rewards", "multi_objective_aggregation"):
        missing = [one for one in choices()[name] if one not in help_of[name] and one.title() not in help_of[name]]
        assert not missing, name
