"""Run under Triton's interpreter: training with Model Runner V2 in the trainer's process. Writes what it saw as JSON."""

from hint_grpo.machine.stack import inspect_models_in_this_process

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from batches import logp_gap
from vllm import EngineArgs

from hint_grpo.rollout.vllm_colocate import ColocatedVLLM
from hint_grpo.training import run
from hint_grpo.training.command_line import parse


def uses_v2(model: str, *, sleeps: bool) -> bool:
    """Which model runner vLLM would build in this process for an engine that sleeps, or does not."""
    lone = SimpleNamespace(process_index=0, local_process_index=0, num_processes=1)
    engine = SimpleNamespace(enable_sleep_mode=sleeps, accelerator=lone)
    with ColocatedVLLM._engine_variables(engine):
        return EngineArgs(model, max_model_len=512, enforce_eager=True).create_engine_config().use_v2_model_runner


def main(report: Path) -> None:
    script, training, model = parse(sys.argv[2:])
    inspect_models_in_this_process()
    processor = run.load_processor(model, training)
    dataset, _ = run.load_data(script, training, processor)
    chosen = {
        name: uses_v2(model.model_name_or_path, sleeps=sleeps) for name, sleeps in (("asleep", True), ("awake", False))
    }
    trainer = run.make_trainer(script, training, model, dataset, processor)
    trainer.scorer.accuracy = lambda completions, **_: [float(place % 2 == 0) for place in range(len(completions))]
    trainer.scorer.rewards = [trainer.scorer.accuracy]
    record, gaps = trainer._record, []

    def look(*arguments):
        gaps.append(logp_gap(trainer))  # the rollouts at hand against the policy before its update
        record(*arguments)

    trainer._record = look
    start = trainer.model.get_input_embeddings().weight.detach().clone()
    trainer.train()
    moved = (trainer.model.get_input_embeddings().weight - start).abs().max().item()
    runner = trainer.vllm_generation.llm.llm_engine.model_executor.driver_worker.model_runner
    seen = {"chosen": chosen, "runner": type(runner).__mro__[1].__module__, "gaps": gaps, "moved": moved}
    report.write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
