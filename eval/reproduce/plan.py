"""Plans a reproduction and carries it out: for each run its training, then its evaluations, in one chain of steps.

The steps of a chain are generated lazily, because the checkpoints to evaluate are known only when the training is finished.
Every step that is not finished runs as a process with its own log; chains run side by side if the settings allow it.
"""

import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from eval.reproduce.recipes import BASE, TableRow
from eval.reproduce.steps import Experiment, Step, Training, evaluations_both_ways, final_evaluation
from eval.runs import ANYWHERE, claim, each_on_a_slot, run, small_slots, toy_world_command
from hint_grpo.evaluation.pool import WorkerSlot
from hint_grpo.machine.errors import UserError

TOY_QUESTIONS = 200

# ----------------------------------------------------------------------------------------------------
# Planning


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What the table and the figures need of one run."""

    run: str
    scales: tuple[float, ...]  # at which the last weights are evaluated
    both_ways: bool = False  # whether every checkpoint is evaluated with and without the picture


def plan_runs(rows: Sequence[TableRow], both_ways: Iterable[str]) -> list[RunPlan]:
    """One plan per run of `rows`, in their order; the runs in `both_ways`, and `base` with them, are evaluated both ways.

    The longest plans come first, so that none of them is left to run alone at the end.
    """
    compared = set(both_ways)
    compared |= {BASE} if compared else set()
    scales_by_run: dict[str, list[float]] = {}
    for row in rows:
        scales_by_run.setdefault(row.run, []).append(row.scale)
    for name in sorted(compared):
        scales_by_run.setdefault(name, []).append(0.0)
    plans = [RunPlan(name, tuple(sorted(set(scales))), name in compared) for name, scales in scales_by_run.items()]
    return sorted(plans, key=lambda plan: (not plan.both_ways, plan.run == BASE))


def steps_of(plan: RunPlan, experiment: Experiment) -> Iterator[Step]:
    """Yields the training (except for `base`), the evaluation of the last weights, those of the checkpoints.

    Run each step before asking for the next one.
    """
    if plan.run != BASE:
        yield Training(experiment, plan.run)
    yield final_evaluation(plan.run, experiment, plan.scales)
    if plan.both_ways:
        for _, with_image, without in evaluations_both_ways(plan.run, experiment):
            yield with_image
            yield without


def print_commands(plans: Sequence[RunPlan], experiment: Experiment) -> None:
    """--dry_run: the state of every known step, and the commands of those that are not finished."""
    for plan in plans:
        for step in steps_of(plan, experiment):
            state = step.state()
            print(f"# {step.name}: {state}")
            if state != "finished":
                print(shlex.join(step.command()))
        if plan.both_ways:
            print(f"# the same for every later checkpoint of {plan.run}, with and without --no_image")


# ----------------------------------------------------------------------------------------------------
# Carrying it out


def check_paths(experiment: Experiment) -> None:
    """Raises UserError for a wrong path now, rather than in the first of many runs."""
    from hint_grpo.evaluation.questions import missing_prompts
    from hint_grpo.hub import check_model_files

    check_model_files(experiment.model_path, f"--model_path {experiment.model_path}")
    for flag, folder in (("data_path", experiment.data_path), ("eval_data", experiment.eval_data)):
        if not folder.is_dir():
            raise UserError(f"--{flag} {folder} is not a folder")
    if not experiment.prompt_path.is_file():
        raise UserError(missing_prompts(experiment.prompt_path))


def build_toy_world(experiment: Experiment) -> None:
    """Writes the toy world unless it exists. It is renamed when complete, so a folder of that name is complete."""
    world = experiment.model_path.parent
    if world.is_dir():
        return
    unfinished = world.with_name("world.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    print(f"toy world: {world}", flush=True)
    run(toy_world_command(unfinished, TOY_QUESTIONS), experiment.log("toy-world"))
    unfinished.rename(world)


def run_missing(plans: Sequence[RunPlan], experiment: Experiment) -> dict[str, str]:
    """Runs every step that is not finished; returns the runs that failed, with the reason.

    With `one_slot_each` chains run side by side, one per slot; otherwise one after the other. A failed chain does not
    stop the others.
    """
    failed: dict[str, str] = {}

    def run_chain(plan: RunPlan, slot: WorkerSlot) -> None:
        # A command of an earlier, killed reproduction may still be writing to this run's folder: wait for it.
        with claim(experiment.output_dir / "claims" / plan.run) as claimed:
            try:
                for step in steps_of(plan, experiment):
                    _run_step(step, experiment, slot, claimed)
            except UserError as error:
                failed[plan.run] = str(error)
                print(f"{plan.run}: {error}", file=sys.stderr, flush=True)

    each_on_a_slot(run_chain, plans, small_slots() if experiment.settings.one_slot_each else [ANYWHERE])
    return failed


def _run_step(step: Step, experiment: Experiment, slot: WorkerSlot, claimed: int) -> None:
    """Runs a step unless it is finished. `claimed`: file descriptor of the claim, which the command holds too."""
    state = step.state()
    if state == "finished":
        return
    # The newline is part of the text: one write per line, because several threads print.
    print(f"{step.name}: {'resuming' if state == 'interrupted' else 'starting'}\n", end="", flush=True)
    start = time.time()
    step.prepare()
    run(step.command(), experiment.log(step.name), slot, keep_open=[claimed])
    if step.state() != "finished":  # a training that gets a signal to stop ends early, with exit code 0
        raise UserError(f"{step.name} ended early; rerun the same command to resume ({experiment.log(step.name)})")
    print(f"{step.name}: done in {time.time() - start:.0f} s\n", end="", flush=True)
