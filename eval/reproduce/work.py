"""Does what a plan says: every step that is not done, as a process with its log, chains side by side where asked."""

import shlex
import shutil
import sys
import time
from collections.abc import Sequence

from eval.reproduce.plan import Need, steps
from eval.reproduce.steps import Experiment, Step
from eval.runs import ANYWHERE, claim, each_on_a_slot, run, small_slots, toy_world_command
from hint_grpo.evaluation.pool import WorkerSlot
from hint_grpo.machine.errors import UserError

TOY_QUESTIONS = 200


def check_paths(experiment: Experiment) -> None:
    """What would otherwise be told by the first of many runs."""
    from hint_grpo.evaluation.questions import missing_prompts
    from hint_grpo.evaluation.store import check_model_folder

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

    def walk(need: Need, slot: WorkerSlot) -> None:
        with claim(experiment.output_dir / "claims" / need.run) as claimed:
            try:
                for step in steps(need, experiment):
                    _take(step, experiment, slot, claimed)
            except UserError as error:  # the other runs go on
                failed[need.run] = str(error)
                print(f"{need.run}: {error}", file=sys.stderr, flush=True)

    each_on_a_slot(walk, plan, small_slots() if experiment.settings.one_slot_each else [ANYWHERE])
    return failed


def _take(step: Step, experiment: Experiment, slot: WorkerSlot, claimed: int) -> None:
    state = step.state()
    if state == "finished":
        return
    print(
        f"{step.name}: {'goes on' if state == 'interrupted' else 'begins'}\n", end="", flush=True
    )  # one write: threads print
    start = time.time()
    step.begin()
    run(step.command(), experiment.log(step.name), slot, keep_open=[claimed])
    if step.state() != "finished":  # a training ends well, and early, when a signal told it to stop
        raise UserError(f"{step.name} ended early; the same command goes on ({experiment.log(step.name)})")
    print(f"{step.name}: done in {time.time() - start:.0f} s\n", end="", flush=True)
