"""`python -m eval.reproduce`: runs or resumes what is missing of the paper's ablations and figures, and shows the result.

    python -m eval.reproduce --world toy                       everything, on a toy world, on a machine without a GPU
    python -m eval.reproduce --table ablation --model_path /PATH/TO/Qwen2-VL-7B-Instruct --data_path /PATH/TO/LLaVA-CoT-100k \\
        --eval_data /PATH/TO/Geo170K --prompt_path eval/prompts/geoqa_test_prompts.jsonl --output_dir output/reproduce
    ... --rows grpo,hint_grpo_m3        a part of the table        ... --figures      the figures and what they need
    ... --dry_run                       prints the commands        ... -- --max_steps 8    flags for every train_model.py

Training and evaluation are train_model.py and test_model.py, as processes with their output in OUTPUT_DIR/logs. What is
there already is not done again; the same command goes on after a kill.
"""

import argparse
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from eval.reproduce import figures, table
from eval.reproduce.plan import MAIN, PLAIN, Need, needs, steps
from eval.reproduce.recipes import PAPER_SETTINGS, TABLES, TOY_SETTINGS, Row, read_flags, read_rows, read_settings
from eval.reproduce.steps import Experiment, Step, Training
from eval.runs import ROOT, available_cores, claim, each_on_a_core, run, toy_world_command
from hint_grpo.errors import UserError, run_main

TOY_QUESTIONS = 200
PATHS = ("model_path", "data_path", "eval_data", "prompt_path")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (python -m eval.reproduce --help lists the flags)")


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, dict[str, object]]:
    """This command's options, and the flags for train_model.py behind `--`."""
    words = list(arguments)
    own, others = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = _Parser(
        prog="python -m eval.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--world", choices=("toy",), help="build a toy world and use it: none of the four paths is needed")
    add("--table", choices=sorted(path.stem for path in TABLES.glob("*.yaml")), help="which table (default: ablation)")
    add("--rows", help="only these rows, by name, separated by commas; no figures unless --figures says so")
    add("--figures", action="store_true", help="the figures, and only the runs that they need")
    add("--both_ways", nargs="+", metavar="RUN", default=[PLAIN, MAIN], help="runs whose checkpoints the figure shows")
    add("--model_path", type=Path, help="folder of the base model")
    add("--data_path", type=Path, help="folder of LLaVA-CoT-100k")
    add("--eval_data", type=Path, help="folder of Geo170K")
    add("--prompt_path", type=Path, help="geoqa_test_prompts.jsonl")
    add("--output_dir", type=Path, help="default: output/reproduce (of the toy world: output/reproduce_toy)")
    add("--settings", type=Path, help="YAML of what all runs share (default: eval/recipes/settings/{paper,toy}.yaml)")
    add("--num_processes", type=int, help="training processes (default: all GPUs but one; without a GPU 1)")
    add("--limit", type=int, help="only the first N questions")
    add("--dry_run", action="store_true", help="print the commands of what is missing, run nothing")
    return parser.parse_args(own), read_flags(others)


def experiment_from(options: argparse.Namespace, overrides: dict[str, object]) -> Experiment:
    toy = options.world == "toy"
    output = (options.output_dir or ROOT / "output" / f"reproduce{'_toy' if toy else ''}").resolve()
    given = {name: getattr(options, name) for name in PATHS}
    if toy and any(given.values()):
        raise UserError(f"--world toy has its own {', '.join(f'--{name}' for name in PATHS)}: leave them out")
    if toy:
        world = output / "world"
        names = ("Qwen2.5-VL-toy", "LLaVA-CoT-100k", "Geo170K", "geoqa_test_prompts.jsonl")
        given = {path: world / name for path, name in zip(PATHS, names, strict=True)}
    missing = [f"--{name}" for name, path in given.items() if path is None]
    if missing:
        raise UserError(f"{', '.join(missing)} missing: name the model and the data, or say --world toy")
    return Experiment(
        **{name: path.resolve() for name, path in given.items()},
        output_dir=output,
        settings=read_settings(options.settings or (TOY_SETTINGS if toy else PAPER_SETTINGS)),
        overrides=overrides,
        num_processes=options.num_processes or _default_processes(toy),
        limit=options.limit,
    )


def _default_processes(toy: bool) -> int:
    """The paper's layout: a GPU is left for the vLLM server."""
    if toy:
        return 1
    from hint_grpo.evaluation.seats import visible_gpus  # imports torch

    return max(1, len(visible_gpus()) - 1)


def check_paths(experiment: Experiment) -> None:
    """What would otherwise be told by the first of many runs."""
    from hint_grpo.evaluation.identity import check_model_folder
    from hint_grpo.evaluation.questions import missing_prompts

    check_model_folder(experiment.model_path)
    for flag, folder in (("data_path", experiment.data_path), ("eval_data", experiment.eval_data)):
        if not folder.is_dir():
            raise UserError(f"--{flag} {folder} is not a folder")
    if not experiment.prompt_path.is_file():
        raise UserError(missing_prompts(experiment.prompt_path))


def build_toy_world(experiment: Experiment) -> None:
    """Under another name first: a world that has its name is whole."""
    world = experiment.model_path.parent
    if world.is_dir():
        return
    unfinished = world.with_name("world.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    print(f"toy world: {world}", flush=True)
    run(toy_world_command(unfinished, TOY_QUESTIONS), experiment.log("toy-world"))
    unfinished.rename(world)


def selected(options: argparse.Namespace) -> tuple[list[Row], list[Row], list[str]]:
    """(all rows of the table, the rows to run, the runs whose checkpoints are evaluated both ways)."""
    everything = read_rows(TABLES / f"{options.table or 'ablation'}.yaml")
    wanted, by_name = everything, {row.name: row for row in everything}
    if options.rows is not None:
        names = [name.strip() for name in options.rows.split(",") if name.strip()]
        unknown = [name for name in names if name not in by_name]
        if unknown or not names:
            raise UserError(f"--rows knows no {', '.join(unknown) or 'empty list'}: choose of {', '.join(by_name)}")
        wanted = [by_name[name] for name in dict.fromkeys(names)]
    figures_only = options.figures and options.table is None and options.rows is None
    if options.figures:
        shown = [row for row in everything if row.run in (PLAIN, MAIN)]
        wanted = shown if figures_only else list(dict.fromkeys([*wanted, *shown]))
    known = {row.run for row in everything}
    if strangers := [name for name in options.both_ways if name not in known]:
        raise UserError(f"--both_ways knows no {', '.join(strangers)}: choose of {', '.join(sorted(known))}")
    return everything, wanted, options.both_ways if options.figures or options.rows is None else []


def print_commands(plan: Sequence[Need], experiment: Experiment) -> None:
    for need in plan:
        for step in steps(need, experiment):
            state = step.state()
            print(f"# {step.name}: {state}")
            if state != "finished":
                print(shlex.join(step.command()))
        if need.both_ways:
            print(
                f"# and so for every checkpoint of {need.run} that is written until then, with and without --no_image"
            )


def carry_out(plan: Sequence[Need], experiment: Experiment) -> dict[str, str]:
    """Walks every chain to its end, as many at a time as the settings say; the runs that failed, with the reason."""
    failed: dict[str, str] = {}

    def walk(need: Need, core: int | None) -> None:
        with claim(experiment.output_dir / "claims" / need.run) as claimed:
            try:
                for step in steps(need, experiment):
                    _take(step, experiment, core, claimed)
            except UserError as error:  # the other runs go on
                failed[need.run] = str(error)
                print(f"{need.run}: {error}", file=sys.stderr, flush=True)

    cores: list[int | None] = [*available_cores()] if experiment.settings.one_core_each else [None]
    each_on_a_core(walk, plan, cores)
    return failed


def _take(step: Step, experiment: Experiment, core: int | None, claimed: int) -> None:
    state = step.state()
    if state == "finished":
        return
    print(f"{step.name}: {'goes on' if state == 'interrupted' else 'begins'}", flush=True)
    start = time.time()
    step.begin()
    run(step.command(), experiment.log(step.name), core, keep_open=[claimed])
    if step.state() != "finished":  # a training ends well, and early, when a signal told it to stop
        raise UserError(f"{step.name} ended early; the same command goes on ({experiment.log(step.name)})")
    print(f"{step.name}: done in {time.time() - start:.0f} s", flush=True)


def report(
    options: argparse.Namespace,
    experiment: Experiment,
    wanted: Sequence[Row],
    everything: Sequence[Row],
    both: list[str],
) -> None:
    lines = [table.measured(row, experiment) for row in wanted]
    notes = _notes(options, experiment)
    content = "\n".join(["", table.text(lines), "", *notes, ""])
    print(content)
    (experiment.output_dir / "table.md").write_text(content, encoding="utf-8")
    table.save_csv(lines, experiment.output_dir / "table.csv")
    print(experiment.output_dir / "table.md")
    if options.figures or options.rows is None:
        print("\n".join(figures.draw_all(experiment, everything, both)))


def _notes(options: argparse.Namespace, experiment: Experiment) -> list[str]:
    notes = [
        "paper: Qwen2-VL-7B on Geo170K; - where no number of the paper's is on record. Intervals: Wilson, 95 %.",
        f"measured: {experiment.model_path.name}, {experiment.num_questions} questions of {experiment.prompt_path.name}.",
    ]
    if options.world == "toy":
        notes.append(
            "The toy world shows that every row runs, and nothing else: at this length and with this many questions the "
            "differences between rows are noise, and they say nothing about the paper's."
        )
    return notes


def main() -> int:
    options, overrides = parse(sys.argv[1:])
    everything, wanted, both = selected(options)
    experiment = experiment_from(options, overrides)
    plan = needs(wanted, both)
    for need in plan:
        if (training := Training(experiment, need.run)).folder.is_dir():
            training.check_settings()
    if options.dry_run:
        print_commands(plan, experiment)
        return 0
    start = time.time()
    if options.world == "toy":
        build_toy_world(experiment)
    check_paths(experiment)
    failed = carry_out(plan, experiment)
    report(options, experiment, wanted, everything, both)
    print(f"{time.time() - start:.0f} s in all", flush=True)
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    run_main(main)
