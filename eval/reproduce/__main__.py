"""`python -m eval.reproduce`: parse -> plan -> run what is missing -> table and figures."""

import sys
import time

from eval.reproduce import figures, table
from eval.reproduce.cli import Choice, chosen, experiment_from, parse
from eval.reproduce.plan import needs
from eval.reproduce.recipes import BASE
from eval.reproduce.steps import Experiment, Training
from eval.reproduce.work import build_toy_world, carry_out, check_paths, print_commands
from hint_grpo.errors import run_main


def report(choice: Choice, experiment: Experiment, *, toy: bool) -> None:
    lines = [table.measured(row, experiment) for row in choice.rows]
    content = "\n".join([table.text(lines), "", *_notes(experiment, toy=toy)]) + "\n"
    print(f"\n{content}")
    (experiment.output_dir / "table.md").write_text(content, encoding="utf-8")
    table.save_csv(lines, experiment.output_dir / "table.csv")
    print(experiment.output_dir / "table.md")
    if choice.both_ways:
        print("\n".join(figures.draw_all(experiment, choice.all_rows, choice.both_ways)))


def _notes(experiment: Experiment, *, toy: bool) -> list[str]:
    notes = [
        "paper: Qwen2-VL-7B on Geo170K; - where no number of the paper's is on record. Intervals: Wilson, 95 %.",
        f"measured: {experiment.model_path.name}, {experiment.num_questions} questions of {experiment.prompt_path.name}.",
    ]
    if toy:
        notes.append(
            "The toy world shows that every row runs, and nothing else: each is one short run of a tiny model with one seed; "
            "differences between rows, also those wider than the intervals, say nothing about the paper's."
        )
    return notes


def main() -> int:
    options, overrides = parse(sys.argv[1:])
    choice = chosen(options)
    experiment = experiment_from(options, overrides)
    plan = needs(choice.rows, choice.both_ways)
    for need in plan:
        if need.run != BASE:
            Training(experiment, need.run).check_settings()
    if options.dry_run:
        print_commands(plan, experiment)
        return 0
    start = time.time()
    if options.world == "toy":
        build_toy_world(experiment)
    check_paths(experiment)
    failed = carry_out(plan, experiment)
    report(choice, experiment, toy=options.world == "toy")
    print(f"{time.time() - start:.0f} s in all", flush=True)
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    run_main(main)
