"""`python -m eval.reproduce`: parse -> plan -> run what is missing -> table and figures."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from eval.reproduce import figures, table
from eval.reproduce.cli import Choice, chosen, experiments_from, output_folder, parse
from eval.reproduce.plan import needs
from eval.reproduce.recipes import BASE
from eval.reproduce.steps import Experiment, Training
from eval.reproduce.work import build_toy_world, carry_out, check_paths, print_commands
from hint_grpo.machine.errors import run_main


def report(choice: Choice, experiments: Sequence[Experiment], output_dir: Path, *, toy: bool) -> None:
    """One table of all presets, the figures of each."""
    lines = [table.measured(row, experiment) for experiment in experiments for row in choice.rows]
    content = "\n".join([table.text(lines), "", *_notes(experiments[0], toy=toy)]) + "\n"
    print(f"\n{content}")
    (output_dir / "table.md").write_text(content, encoding="utf-8")
    table.save_csv(lines, output_dir / "table.csv")
    print(output_dir / "table.md")
    if choice.both_ways:
        for experiment in experiments:
            print("\n".join(figures.draw_all(experiment, choice.all_rows, choice.both_ways)))


def _notes(experiment: Experiment, *, toy: bool) -> list[str]:
    notes = [
        "preset: whose settings the row was trained by (docs/faithfulness.md).",
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
    experiments = experiments_from(options, overrides)
    plan = needs(choice.rows, choice.both_ways)
    for experiment in experiments:
        for need in plan:
            if need.run != BASE:
                Training(experiment, need.run).check_settings()
    if options.dry_run:
        for experiment in experiments:
            print_commands(plan, experiment)
        return 0
    start = time.time()
    toy = options.world == "toy"
    if toy:
        build_toy_world(experiments[0])
    check_paths(experiments[0])
    failed = {}
    for experiment in experiments:
        for name, reason in carry_out(plan, experiment).items():
            failed[f"{name} (preset {experiment.preset})"] = reason
    report(choice, experiments, output_folder(options), toy=toy)
    print(f"{time.time() - start:.0f} s in all", flush=True)
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    run_main(main)
