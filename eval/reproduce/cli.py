"""The command line of `python -m eval.reproduce`: its flags, and the rows, figures and experiments that they select.

Quick to import: no torch, no transformers.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from eval.reproduce.recipes import (
    MAIN,
    PAPER_SETTINGS,
    PLAIN,
    TABLES,
    TOY_SETTINGS,
    Flags,
    TableRow,
    read_flags,
    read_rows,
    read_settings,
)
from eval.reproduce.steps import Experiment
from eval.runs import ROOT
from hint_grpo.data.samples import PUBLISHED_FILE as RESPLIT_FILE
from hint_grpo.machine.errors import UserError
from hint_grpo.training.presets import DEFAULT, PRESETS

DESCRIPTION = """\
Runs or resumes what is missing for the paper's ablation table and figures, then prints the table and draws the figures.

    python -m eval.reproduce --world toy                       everything on a toy world; needs no GPU
    python -m eval.reproduce --table ablation --model_path /PATH/TO/Qwen2-VL-7B-Instruct --data_path /PATH/TO/LLaVA-CoT-100k \\
        --eval_data /PATH/TO/Geo170K --prompt_path eval/prompts/geoqa_test_prompts.jsonl --output_dir output/reproduce
    ... --rows grpo,hint_grpo_m3        only these rows            ... --figures      the figures and the runs they need
    ... --preset paper released         settings of the paper's text, then of the authors' released code (docs/faithfulness.md)
    ... --table schedules --world toy   other papers' hint schedules on toy models, over seeds (docs/hint_schedules.md)
    ... --dry_run                       only prints the commands   ... -- --max_steps 8    flags for every train_model.py

Training and evaluation run train_model.py and test_model.py, with their output in OUTPUT_DIR/logs. Finished steps are
skipped; after an interruption, rerun the same command to resume."""
SCHEDULES = "schedules"
"""The table that --world toy trains with several seeds (eval/reproduce/schedules.py)."""
PATHS = ("model_path", "data_path", "eval_data", "prompt_path")


@dataclass(frozen=True, slots=True)
class Selection:
    """What to run and show."""

    all_rows: list[TableRow]  # the whole table
    rows: list[TableRow]  # the rows to run and print
    both_ways: list[str]  # runs whose checkpoints are evaluated with and without the picture ([]: no figures)


class _Parser(argparse.ArgumentParser):
    """Raises UserError for a wrong flag, instead of printing the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (python -m eval.reproduce --help lists the flags)")


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, Flags]:
    """This command's options, and the flags for train_model.py after `--`. Raises UserError for a wrong flag."""
    words = list(arguments)
    own, others = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = _Parser(
        prog="python -m eval.reproduce",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--world", choices=("toy",), help="build and use a toy world, so that none of the four paths is needed")
    add("--table", choices=sorted(path.stem for path in TABLES.glob("*.yaml")), help="which table (default: ablation)")
    add("--rows", help="only these rows: names separated by commas; no figures without --figures")
    add("--figures", action="store_true", help="draw the figures; without --table and --rows: run only what they need")
    add(
        "--both_ways",
        nargs="+",
        metavar="RUN",
        default=[PLAIN, MAIN],
        help="runs whose checkpoints are evaluated with and without the picture, for a figure",
    )
    add("--model_path", type=Path, help="folder of the base model")
    add("--data_path", type=Path, help="folder of LLaVA-CoT-100k")
    add("--eval_data", type=Path, help="folder of Geo170K")
    add("--prompt_path", type=Path, help="geoqa_test_prompts.jsonl")
    add(
        "--preset",
        nargs="+",
        choices=tuple(PRESETS),
        default=[DEFAULT],
        help="whose settings to train with; several run one after the other",
    )
    add("--output_dir", type=Path, help="default: output/reproduce (toy world: output/reproduce_toy)")
    add(
        "--settings",
        type=Path,
        help="YAML of the flags that all runs share (default: eval/recipes/settings/{paper,toy}.yaml)",
    )
    add("--num_processes", type=int, help="training processes (default: all GPUs but one; 1 without a GPU)")
    add("--seeds", type=int, nargs="+", help="of --table schedules --world toy (default: 1 2 3)")
    add("--limit", type=int, help="only the first N questions")
    add("--dry_run", action="store_true", help="print the commands of the unfinished steps, run nothing")
    return parser.parse_args(own), read_flags(others)


def output_folder(options: argparse.Namespace) -> Path:
    """--output_dir or its default, absolute."""
    toy = options.world == "toy"
    name = "reproduce_schedules" if toy and options.table == SCHEDULES else f"reproduce{'_toy' if toy else ''}"
    return (options.output_dir or ROOT / "output" / name).resolve()


def seeds_of(options: argparse.Namespace) -> tuple[int, ...]:
    """--seeds. Raises UserError for flags that --table schedules --world toy does not have, and for a repeated seed."""
    for name in ("figures", "limit", "num_processes", "settings", "dry_run"):
        if getattr(options, name):
            raise UserError(f"--{name} does not go with --table {SCHEDULES} --world toy")
    seeds = tuple(options.seeds or (1, 2, 3))
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {' '.join(map(str, seeds))}: give each seed once")
    return seeds


def experiments_from(options: argparse.Namespace, overrides: Flags) -> list[Experiment]:
    """One experiment per --preset; each but the default has a subfolder preset_NAME. Raises UserError for missing paths."""
    return [_experiment(options, overrides, preset) for preset in dict.fromkeys(options.preset)]


def _experiment(options: argparse.Namespace, overrides: Flags, preset: str) -> Experiment:
    toy = options.world == "toy"
    output = output_folder(options)
    given = {name: getattr(options, name) for name in PATHS}
    if toy and any(given.values()):
        raise UserError(f"--world toy sets {', '.join(f'--{name}' for name in PATHS)} itself; leave them out")
    if toy:
        world = output / "world"
        names = ("Qwen2.5-VL-toy", "LLaVA-CoT-100k", "Geo170K", "geoqa_test_prompts.jsonl")
        given = {path: world / name for path, name in zip(PATHS, names, strict=True)}
        if "steps_file" in PRESETS[preset]:  # outside the data folder, so that other presets do not use it
            overrides = {"steps_file": world / RESPLIT_FILE} | overrides
    missing = [f"--{name}" for name, path in given.items() if path is None]
    if missing:
        raise UserError(f"{', '.join(missing)} missing: give the model and the data, or use --world toy")
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
    """As in the paper: all GPUs but one, which is left for the vLLM server."""
    if toy:
        return 1
    from hint_grpo.evaluation.pool import visible_gpus  # imports torch

    return max(1, len(visible_gpus()) - 1)


def select(options: argparse.Namespace) -> Selection:
    """The rows and figures that --table, --rows, --figures and --both_ways select. Raises UserError for unknown names."""
    all_rows = read_rows(TABLES / f"{options.table or 'ablation'}.yaml")
    rows, by_name = all_rows, {row.name: row for row in all_rows}
    if options.rows is not None:
        names = [name.strip() for name in options.rows.split(",") if name.strip()]
        unknown = [name for name in names if name not in by_name]
        if unknown or not names:
            raise UserError(f"unknown --rows {', '.join(unknown) or '(none given)'}; choose from {', '.join(by_name)}")
        rows = [by_name[name] for name in dict.fromkeys(names)]
    if options.figures:
        # The rows whose runs the figures compare: added to a selection, or alone if there is none.
        compared = [row for row in all_rows if row.run in (PLAIN, MAIN)]
        rows = compared if options.table is None and options.rows is None else list(dict.fromkeys([*rows, *compared]))
    known = {row.run for row in all_rows}
    if unknown := [name for name in options.both_ways if name not in known]:
        raise UserError(f"unknown --both_ways {', '.join(unknown)}; choose from {', '.join(sorted(known))}")
    return Selection(all_rows, rows, options.both_ways if options.figures or options.rows is None else [])
