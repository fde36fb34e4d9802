"""The command line of `python -m eval.reproduce`, and what it says is to be done. Light to import."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from eval.reproduce.plan import MAIN, PLAIN
from eval.reproduce.recipes import (
    PAPER_SETTINGS,
    TABLES,
    TOY_SETTINGS,
    Flags,
    Row,
    read_flags,
    read_rows,
    read_settings,
)
from eval.reproduce.steps import Experiment
from eval.runs import ROOT
from hint_grpo.data.report import PUBLISHED_FILE as RESPLIT_FILE
from hint_grpo.machine.errors import UserError
from hint_grpo.training.presets import DEFAULT, PRESETS

DESCRIPTION = """\
Runs or resumes what is missing of the paper's ablations and figures, and shows the result.

    python -m eval.reproduce --world toy                       everything, on a toy world, on a machine without a GPU
    python -m eval.reproduce --table ablation --model_path /PATH/TO/Qwen2-VL-7B-Instruct --data_path /PATH/TO/LLaVA-CoT-100k \\
        --eval_data /PATH/TO/Geo170K --prompt_path eval/prompts/geoqa_test_prompts.jsonl --output_dir output/reproduce
    ... --rows grpo,hint_grpo_m3        a part of the table        ... --figures      the figures and what they need
    ... --preset paper released         the rows by the paper's text, then by the authors' released code (docs/faithfulness.md)
    ... --dry_run                       prints the commands        ... -- --max_steps 8    flags for every train_model.py

Training and evaluation are train_model.py and test_model.py, as processes with their output in OUTPUT_DIR/logs. What is
there already is not done again; the same command goes on after a kill."""
PATHS = ("model_path", "data_path", "eval_data", "prompt_path")


@dataclass(frozen=True, slots=True)
class Choice:
    """The rows to run and show, of all rows of the table; the runs whose checkpoints a figure shows ([]: no figures)."""

    all_rows: list[Row]
    rows: list[Row]
    both_ways: list[str]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (python -m eval.reproduce --help lists the flags)")


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, Flags]:
    """This command's options, and the flags for train_model.py behind `--`."""
    words = list(arguments)
    own, others = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = _Parser(
        prog="python -m eval.reproduce",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--world", choices=("toy",), help="build a toy world and use it: none of the four paths is needed")
    add("--table", choices=sorted(path.stem for path in TABLES.glob("*.yaml")), help="which table (default: ablation)")
    add("--rows", help="only these rows, by name, separated by commas; no figures unless --figures says so")
    add("--figures", action="store_true", help="the figures; alone: only the runs that they need")
    add("--both_ways", nargs="+", metavar="RUN", default=[PLAIN, MAIN], help="runs whose checkpoints the figure shows")
    add("--model_path", type=Path, help="folder of the base model")
    add("--data_path", type=Path, help="folder of LLaVA-CoT-100k")
    add("--eval_data", type=Path, help="folder of Geo170K")
    add("--prompt_path", type=Path, help="geoqa_test_prompts.jsonl")
    add(
        "--preset",
        nargs="+",
        choices=tuple(PRESETS),
        default=[DEFAULT],
        help="whose settings; several: one after the other",
    )
    add("--output_dir", type=Path, help="default: output/reproduce (of the toy world: output/reproduce_toy)")
    add("--settings", type=Path, help="YAML of what all runs share (default: eval/recipes/settings/{paper,toy}.yaml)")
    add("--num_processes", type=int, help="training processes (default: all GPUs but one; without a GPU 1)")
    add("--limit", type=int, help="only the first N questions")
    add("--dry_run", action="store_true", help="print the commands of what is missing, run nothing")
    return parser.parse_args(own), read_flags(others)


def output_folder(options: argparse.Namespace) -> Path:
    toy = options.world == "toy"
    return (options.output_dir or ROOT / "output" / f"reproduce{'_toy' if toy else ''}").resolve()


def experiments_from(options: argparse.Namespace, overrides: Flags) -> list[Experiment]:
    """One for each --preset; all but the default's in a folder with its name."""
    return [_experiment(options, overrides, preset) for preset in dict.fromkeys(options.preset)]


def _experiment(options: argparse.Namespace, overrides: Flags, preset: str) -> Experiment:
    toy = options.world == "toy"
    output = output_folder(options)
    given = {name: getattr(options, name) for name in PATHS}
    if toy and any(given.values()):
        raise UserError(f"--world toy has its own {', '.join(f'--{name}' for name in PATHS)}: leave them out")
    if toy:
        world = output / "world"
        names = ("Qwen2.5-VL-toy", "LLaVA-CoT-100k", "Geo170K", "geoqa_test_prompts.jsonl")
        given = {path: world / name for path, name in zip(PATHS, names, strict=True)}
        if "steps_file" in PRESETS[preset]:  # beside the data folder, where the other presets do not find it
            overrides = {"steps_file": world / RESPLIT_FILE} | overrides
    missing = [f"--{name}" for name, path in given.items() if path is None]
    if missing:
        raise UserError(f"{', '.join(missing)} missing: name the model and the data, or say --world toy")
    return Experiment(
        **{name: path.resolve() for name, path in given.items()},
        output_dir=output if preset == DEFAULT else output / f"preset_{preset}",
        preset=preset,
        settings=read_settings(options.settings or (TOY_SETTINGS if toy else PAPER_SETTINGS)),
        overrides=overrides,
        num_processes=options.num_processes or _default_processes(toy),
        limit=options.limit,
    )


def _default_processes(toy: bool) -> int:
    """The paper's layout: a GPU is left for the vLLM server."""
    if toy:
        return 1
    from hint_grpo.evaluation.pool import visible_gpus  # imports torch

    return max(1, len(visible_gpus()) - 1)


def chosen(options: argparse.Namespace) -> Choice:
    all_rows = read_rows(TABLES / f"{options.table or 'ablation'}.yaml")
    rows, by_name = all_rows, {row.name: row for row in all_rows}
    if options.rows is not None:
        names = [name.strip() for name in options.rows.split(",") if name.strip()]
        unknown = [name for name in names if name not in by_name]
        if unknown or not names:
            raise UserError(f"--rows knows no {', '.join(unknown) or 'empty list'}: choose of {', '.join(by_name)}")
        rows = [by_name[name] for name in dict.fromkeys(names)]
    if options.figures:
        shown = [row for row in all_rows if row.run in (PLAIN, MAIN)]
        rows = shown if options.table is None and options.rows is None else list(dict.fromkeys([*rows, *shown]))
    known = {row.run for row in all_rows}
    if strangers := [name for name in options.both_ways if name not in known]:
        raise UserError(f"--both_ways knows no {', '.join(strangers)}: choose of {', '.join(sorted(known))}")
    return Choice(all_rows, rows, options.both_ways if options.figures or options.rows is None else [])
