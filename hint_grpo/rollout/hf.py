"""Rollouts by transformers' `generate` on the policy itself: no second copy of the weights, slower than vLLM."""

import hint_grpo.machine.stack  # noqa: F401

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import pad

from hint_grpo.rollout.escalation import Escalation, Sampled, Turn


class TransformersBackend:
    """Samples in rounds: all turns submitted so far form one left-padded batch, G rows each.

    Differs from vLLM in three ways: a prompt moves up a level only when its round has ended, nothing can be stopped before its
    end, and there are no separate log-probabilities (the sampler is the policy itself).
    """

    def __init__(self, trainer: Any, suppressed_ids: list[int]) -> None:
        self.trainer = trainer
        self.family = trainer.encoder.family
        args = trainer.args
        self.config = GenerationConfig(
            max_new_tokens=args.max_completion_length,
            do_sample=True,
            temperature=args.temperature,
            top_p=args.top_p,
            top_k=args.top_k,
            min_p=args.min_p,
            repetition_penalty=args.repetition_penalty,
            cache_implementation=args.cache_implementation,
            suppress_tokens=suppressed_ids or None,
            pad_token_id=trainer._tokenizer.pad_token_id,
            bos_token_id=trainer._tokenizer.bos_token_id,
            eos_token_id=trainer.eos_token_ids,
            disable_compile=True,
            **(args.generation_kwargs or {}),
        )

    @contextmanager
    def ready(self) -> Iterator[None]:
        # Weights are gathered once for all rounds: ranks may need different numbers of rounds, and none waits for another inside.
        trainer = self.trainer
        with (
            unwrap_model_for_generation(
                trainer.model_wrapped,
                trainer.accelerator,
                gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
            ) as self.model,
            torch.no_grad(),
        ):
            yield
        del self.model

    def run(self, escalation: Escalation) -> None:
        waiting = escalation.first()
        while waiting:
            batch, waiting = waiting, []
            for turn, completions in zip(batch, self._sample(batch, escalation.num_generations), strict=True):
                for place, completion in enumerate(completions):
                    jobs = list(escalation.finished(turn, place, completion))
                    while jobs:
                        job = jobs.pop(0)
                        orders = job.conclude(job.run())
                        jobs += orders.jobs
                        waiting.extend(orders.sample)

    def _sample(self, turns: list[Turn], num_generations: int) -> list[list[Sampled]]:
        inputs = self._inputs(turns, num_generations)
        # One seed per round, since the rows of a batch share a generator. The caller's random state is left unchanged.
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(turns[0].seed)
            # synced_gpus would synchronise at every token under ZeRO-3 and deadlock when ranks differ in rounds.
            output = self.model.generate(**inputs, generation_config=self.config, synced_gpus=False)
        rows = output[:, inputs["input_ids"].size(1) :].tolist()
        completions = [self._until_end(row) for row in rows]
        return [completions[i : i + num_generations] for i in range(0, len(completions), num_generations)]

    def _inputs(self, turns: list[Turn], num_generations: int) -> dict[str, torch.Tensor]:
        device, pad_id = self.model.device, self.trainer._tokenizer.pad_token_id
        rows = [torch.tensor(turn.prompt.ids + turn.begun_ids) for turn in turns for _ in range(num_generations)]
        input_ids = pad(rows, padding_value=pad_id, padding_side="left")
        images = self.family.batch([turn.prompt.image_inputs for turn in turns for _ in range(num_generations)])
        inputs = {
            "input_ids": input_ids,
            "attention_mask": pad([torch.ones_like(row) for row in rows], padding_value=0, padding_side="left"),
            **images,
            **self.family.token_inputs(input_ids, images),
        }
        return {key: value.to(device) for key, value in inputs.items()}

    def _until_end(self, row: list[int]) -> Sampled:
        """A row of the batch without the padding after its end token."""
        for position, token in enumerate(row):
            if token in self.config.eos_token_id:
                return Sampled(row[: position + 1], None, "stop")
        return Sampled(row, None, "length")
