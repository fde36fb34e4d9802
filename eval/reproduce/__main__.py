"""`python -m eval.reproduce`: parse -> plan -> run what is missing -> table and figures."""

import sys
import time

from eval.reproduce import report
from eval.reproduce.cli import SCHEDULES, experiments_from, output_folder, parse, seeds_of, select
from eval.reproduce.plan import build_toy_world, check_paths, plan_runs, print_commands, run_missing
from eval.reproduce.recipes import BASE
from eval.reproduce.steps import Training
from hint_grpo.machine.errors import run_main


def main() -> int:
    """Returns the exit code: 1 if a run failed."""
    options, overrides = parse(sys.argv[1:])
    selection = select(options)
    if options.table == SCHEDULES and options.world == "toy":
        # Imported here: it needs the experiments of eval.evidence, and with them torch.
        from eval.reproduce.schedules import run_schedules

        run_schedules(selection.rows, seeds_of(options), output_folder(options), overrides)
        return 0
    experiments = experiments_from(options, overrides)
    plans = plan_runs(selection.rows, selection.both_ways)
    # A folder with a run of other settings is refused before anything starts.
    for experiment in experiments:
        for plan in plans:
            if plan.run != BASE:
                Training(experiment, plan.run).check_settings()
    if options.dry_run:
        for experiment in experiments:
            print_commands(plans, experiment)
        return 0

    start = time.time()
    toy = options.world == "toy"
    if toy:
        build_toy_world(experiments[0])
    check_paths(experiments[0])
    failed = {}  # by run: the reason
    for experiment in experiments:
        for name, reason in run_missing(plans, experiment).items():
            failed[f"{name} (preset {experiment.preset})"] = reason

    report.write_report(selection, experiments, output_folder(options), toy=toy)
    print(f"{time.time() - start:.0f} s in all", flush=True)
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    run_main(main)
