"""The training command: flags and a YAML file (--config) become the dataclasses of `hint_grpo.training.config`, and a run starts.

    parse  =  read (flags, YAML file)  ->  check (no torch yet)  ->  build (imports torch and TRL)

The flags and their types come from `flags`, the checks from `flag_checks`. Both are light to import, so that --help and a
mistake in a flag do not wait for torch. Every user mistake is a UserError: one line with the fix, before a model loads.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hint_grpo import hub
from hint_grpo.families import read_config as read_model_config
from hint_grpo.machine.errors import UserError, did_you_mean, program, run_main
from hint_grpo.machine.hardware import count_gpus
from hint_grpo.training import flag_checks, flag_values
from hint_grpo.training.flag_help import print_help
from hint_grpo.training.flag_values import AUTOCAST, needs_float32
from hint_grpo.training.flags import UNKNOWN, Flag, declared_flags
from hint_grpo.training.presets import DEFAULT, SECRETS, overridden, preset_values

if TYPE_CHECKING:
    from trl import ModelConfig

    from hint_grpo.training.config import HintGRPOConfig, ScriptArguments

HELP_HINT = f"({program('train_model.py', 'hint-grpo-train')} --help lists the flags)"
# LoRA adapts the language model's projections; the vision encoder is not trained.
LORA_TARGETS = r".*language_model\..*_proj"


@dataclass(frozen=True, slots=True)
class Given:
    """The flags that the user set, by name: in the YAML file (`config`) and on the command line (`words`, which wins)."""

    config: Mapping[str, Any]
    words: Mapping[str, Any]

    @property
    def explicit(self) -> dict[str, Any]:
        """Every flag that the user set."""
        return {**self.config, **self.words}

    @property
    def preset(self) -> str:
        return str(self.explicit.get("preset", DEFAULT))

    def set_values(self) -> dict[str, Any]:
        """The flags that the user or the preset sets; the user's win. Raises UserError for an unknown preset."""
        return preset_values(self.preset, self.explicit) | self.explicit

    def values(self) -> dict[str, Any]:
        """Every flag: the user's value, else the preset's, else the default (left out if it is computed at run time)."""
        defaults = {flag.name: flag.default for flag in declared_flags().values() if flag.default is not UNKNOWN}
        return defaults | self.set_values()


def parse(arguments: Sequence[str] | None = None) -> "tuple[ScriptArguments, HintGRPOConfig, ModelConfig]":
    """The configuration of a run, from `arguments` (default: sys.argv). Raises UserError for every user mistake."""
    given = read(sys.argv[1:] if arguments is None else arguments)
    check(given)
    return build(given)


# ----------------------------------------------------------------------------------------------------
# Reading: words and YAML to values of the declared types


def read(words: Sequence[str]) -> Given:
    """The flags in `words` and in the file that --config names. --help prints and exits. Raises UserError."""
    known, unknown = _parser().parse_known_args(list(words))
    if known.help or known.help_all:
        print_help(everything=known.help_all)
        sys.exit(0)
    if unknown:
        word = next((word for word in unknown if word.startswith("--")), None)
        if word is None:
            raise UserError(f"unexpected {unknown[0]!r}: flags begin with -- {HELP_HINT}")
        raise UserError(_unknown_flag(word[2:].partition("=")[0]))
    given = {name: value for name, value in vars(known).items() if name in declared_flags()}
    return Given(read_config(known.config) if known.config else {}, given)


def read_config(path: str) -> dict[str, Any]:
    """The flags of a YAML file. Its `env` mapping, if it has one, sets environment variables. Raises UserError."""
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"--config {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"--config {path} must hold a mapping of flags, such as num_groups: 3")
    variables = content.pop("env", None) or {}
    if not isinstance(variables, dict):
        raise UserError(f"--config {path}: env must be a mapping of environment variables")
    os.environ.update({str(name): str(value) for name, value in variables.items()})
    return {str(name): _from_yaml(path, str(name), value) for name, value in content.items()}


def _from_yaml(path: str, name: str, value: Any) -> Any:
    """A value of the YAML file `path`, converted as the same words on the command line would be."""
    flag = declared_flags().get(name)
    if flag is None:
        raise UserError(f"--config {path}: {_unknown_flag(name, 'key ')}")
    if value is None:
        if not flag.optional:
            raise UserError(f"--config {path}: {name} has no value")
        return None
    if isinstance(value, Mapping) and flag.kind == "json":
        return dict(value)
    listed = value if isinstance(value, list) else [value]
    if isinstance(value, Mapping) or (isinstance(value, list) and not flag.many):
        raise UserError(f"--config {path}: {name} {value}: give one value")
    try:
        converted = [_converted(flag, str(one).lower() if isinstance(one, bool) else str(one)) for one in listed]
    except argparse.ArgumentTypeError as error:
        raise UserError(f"--config {path}: {name}: {error}") from error
    return converted if flag.many else converted[0]


def _unknown_flag(name: str, where: str = "flag --") -> str:
    """The message for a name that is not a flag, with the nearest one that is."""
    prefix = "--" if where.endswith("--") else ""
    return f"unknown {where}{name}{did_you_mean(name, declared_flags(), prefix)} {HELP_HINT}"


# ----------------------------------------------------------------------------------------------------
# Checking and building


def check(given: Given) -> None:
    """Every check that needs neither torch nor a loaded model. Raises UserError."""
    values = given.values()
    defaults = {flag.name: flag.default for flag in declared_flags().values()}
    flag_values.check_values(given.explicit)
    flag_values.check_unused(given.explicit, values, defaults)
    flag_checks.check_script(values)
    flag_checks.check_together(given.explicit, values)
    flag_checks.check_training(values)
    flag_checks.check_model(values)


def build(given: Given) -> "tuple[ScriptArguments, HintGRPOConfig, ModelConfig]":
    """The dataclasses, which check themselves once more. Imports torch, transformers and TRL; raises UserError."""
    from trl import ModelConfig

    from hint_grpo.training.config import HintGRPOConfig, ScriptArguments

    # Only what the user or the preset sets: the dataclasses know their own defaults.
    values: dict[str, dict[str, Any]] = {"ScriptArguments": {}, "HintGRPOConfig": {}, "ModelConfig": {}}
    for name, value in given.set_values().items():
        values[declared_flags()[name].owner][name] = value
    settings = given.values()
    training = values["HintGRPOConfig"]
    if isinstance(training.get("debug"), list):
        training["debug"] = " ".join(training["debug"])
    # Weights in float32, computation in the precision that --torch_dtype names (see the next section).
    dtype = _dtype(settings)
    in_float32 = needs_float32(dtype, settings)
    if in_float32:
        training.setdefault(AUTOCAST[dtype], True)
        training["use_cpu"] = settings["use_cpu"] or count_gpus() == 0
    try:
        script = ScriptArguments(**values["ScriptArguments"])
        config = HintGRPOConfig(**training)
        model = ModelConfig(**values["ModelConfig"])
    except ValueError as error:  # TRL's and transformers' own checks
        raise UserError(str(error)) from error
    # What follows from several dataclasses, or belongs to the record of the run.
    config.preset_overrides = overridden(given.preset, given.explicit)
    config.flags = {name: value for name, value in settings.items() if name not in SECRETS}
    model.dtype, config.rollout_dtype = "float32" if in_float32 else dtype, dtype
    if model.use_peft and model.lora_target_modules is None:
        model.lora_target_modules = LORA_TARGETS  # peft has no default for these models
    if config.gradient_checkpointing and model.use_peft:
        config.gradient_checkpointing_kwargs = config.gradient_checkpointing_kwargs or {"use_reentrant": False}
    return script, config, model


def _dtype(values: Mapping[str, Any]) -> str:
    """The precision of --torch_dtype or --dtype; for `auto`, that of the checkpoint."""
    dtype = values["torch_dtype"] or values["dtype"] or "auto"
    if dtype != "auto":
        return dtype
    config = read_model_config(hub.find_model(values["model_name_or_path"], "--model_name_or_path"))
    stored = config.get("dtype") or config.get("torch_dtype") or "float32"
    return stored if stored in AUTOCAST else "float32"


# ----------------------------------------------------------------------------------------------------
# The parser, and the conversion of one word to a flag's type

TRUE, FALSE = ("true", "yes", "1", "t", "y", "on"), ("false", "no", "0", "f", "n", "off")
NONE = ("none", "null")
# JSON flags that also accept the name of a file that holds the JSON.
FILE_OR_JSON = ("deepspeed", "fsdp_config", "accelerator_config")


class _Parser(argparse.ArgumentParser):
    """Raises UserError instead of printing the whole usage before an error."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} {HELP_HINT}")


def _parser() -> argparse.ArgumentParser:
    """Accepts every declared flag, with underscores or hyphens. Flags that are not given are absent from the namespace."""
    parser = _Parser(prog="train_model.py", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--help_all", "--help-all", action="store_true")
    parser.add_argument("--config")
    for flag in declared_flags().values():
        names = dict.fromkeys((f"--{flag.name}", f"--{flag.name.replace('_', '-')}"))
        options: dict[str, Any] = {"dest": flag.name, "default": argparse.SUPPRESS, "type": _converter(flag)}
        if flag.kind == "bool":
            options |= {"nargs": "?", "const": True}  # --bf16 alone is --bf16 true
        elif flag.many:
            options |= {"nargs": "+"}
        parser.add_argument(*names, **options)
        if flag.kind == "bool" and flag.default is True:
            no = dict.fromkeys((f"--no_{flag.name}", f"--no-{flag.name.replace('_', '-')}"))
            parser.add_argument(*no, dest=flag.name, action="store_false", default=argparse.SUPPRESS)
    return parser


def _converter(flag: Flag) -> Any:
    return lambda word: _converted(flag, word)


def _converted(flag: Flag, word: str) -> Any:
    """A word as the flag's type. Raises ArgumentTypeError, which argparse reports with the flag's name."""
    if flag.optional and flag.kind != "str" and word.lower() in NONE:
        return None
    if flag.kind == "bool":
        if word.lower() in TRUE or word.lower() in FALSE:
            return word.lower() in TRUE
        raise argparse.ArgumentTypeError(f"{word!r} is neither true nor false")
    if flag.kind in ("int", "float"):
        try:
            return int(word) if flag.kind == "int" else float(word)
        except ValueError:
            what = "whole number" if flag.kind == "int" else "number"
            raise argparse.ArgumentTypeError(f"{word!r} is not a {what}") from None
    return _json(flag, word) if flag.kind == "json" else word


def _json(flag: Flag, word: str) -> str:
    """Checks a JSON object or a file's name; returns it as text, which the dataclasses read themselves."""
    if flag.name in FILE_OR_JSON and not word.lstrip().startswith("{"):
        if flag.name != "deepspeed" and not Path(word).is_file():
            raise argparse.ArgumentTypeError(f"{word!r} is neither a file nor a JSON object")
        return word
    try:
        content = json.loads(word)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise argparse.ArgumentTypeError(f"""{word!r} is not a JSON object, such as '{{"key": 1}}'""")
    return word


# ----------------------------------------------------------------------------------------------------
# The command: a run's steps in order (they are in `run.py`)


def main() -> int:
    """Runs the command line in sys.argv and returns the exit code. Raises UserError for a user mistake."""
    script, training, model = parse()

    # Imported only now: --help and errors in flags must not wait for torch, TRL and vLLM.
    from hint_grpo.training import run

    processor = run.load_processor(model, training)
    run.check_memory(training, model)
    dataset, report = run.load_data(script, training, processor)
    run.try_plugins(script, training, dataset)
    if script.check_data:
        exit_code, dataset = run.check_data(training, model, dataset, report, processor)
        if not script.skip_bad:
            return exit_code
    with run.only_run(training):
        resume = run.checkpoint(training, dataset)
        if resume and run.finish_with(resume, training):
            return 0
        with run.rollout_server(training, model) as server:
            trainer = run.make_trainer(script, training, model, dataset, processor, server)
            run.describe(trainer, report)
            run.save_config(trainer)
            stopped = run.train(trainer, resume)
            if stopped is not None:
                return stopped
            run.finish(trainer)
    return 0


def command() -> None:
    """Runs `main` and exits: 0, 2 after a user's mistake (one line on stderr), 130 after Ctrl-C, or the code of a stopped run."""
    run_main(main)


if __name__ == "__main__":
    command()
