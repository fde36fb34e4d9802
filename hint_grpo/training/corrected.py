"""CorrectedTrainer: ResumableTrainer whose importance weights between vLLM and the policy come from the loss's own forward pass.

TRL runs a forward pass for them when it samples. If the weights do not change between sampling and the loss, the loss's pass
gives the same log-probabilities (`hint_grpo.training.importance`), and that pass is left out.
"""

import hint_grpo.machine.stack  # noqa: F401

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from hint_grpo.training.importance import Agreement, importance_weights
from hint_grpo.training.resumable import ResumableTrainer


class CorrectedTrainer(ResumableTrainer):
    """A subclass gives `_check_gap`, which compares vLLM's log-probabilities with the policy's, and may stop the run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The inputs of the loss being computed, and what its micro-batches have shown so far.
        self._inputs_to_correct: dict[str, Any] | None = None
        self.agreement = Agreement()
        # Makes TRL compute old log-probabilities in a separate forward pass; for tests and benchmarks.
        self._separate_old_logps = False

    def _check_gap(self, step: int) -> None:
        raise NotImplementedError

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        with self._without_old_logps() if self._corrects_in_the_loss else nullcontext():
            return super()._generate_and_score_completions(inputs)

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        result = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        if self._inputs_to_correct is not None:
            self._correct(self._inputs_to_correct, result[0].detach())
        return result

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if not self._corrects_in_the_loss:
            return super()._compute_loss(model, inputs)
        self._inputs_to_correct = inputs = dict(inputs)
        try:
            return super()._compute_loss(model, inputs)
        finally:
            self._inputs_to_correct = None

    @property
    def _sampled_every(self) -> int:
        """How many micro-batches are trained on between two samplings."""
        return self.args.steps_per_generation * self.num_iterations

    @property
    def _corrects_in_the_loss(self) -> bool:
        """Whether the loss's log-probabilities are those of the policy that sampled: no update lies between the two."""
        is_needed = self.use_vllm and self.vllm_importance_sampling_correction
        return (
            is_needed
            and not self._separate_old_logps
            and not self.args.gradient_accumulation_steps % self._sampled_every
        )

    @contextmanager
    def _without_old_logps(self) -> Iterator[None]:
        """TRL computes old log-probabilities when it samples only if it corrects then."""
        self.vllm_importance_sampling_correction = False
        try:
            yield
        finally:
            self.vllm_importance_sampling_correction = True

    def _correct(self, inputs: dict[str, Any], logps: torch.Tensor) -> None:
        """Adds the importance weights to the inputs of the loss, whose forward pass gave `logps`.

        The last micro-batch of a sampled batch brings the metrics, and the check that may stop the run: before its gradients are
        computed, and so before any update with this batch.
        """
        sampler_logps, mask = inputs["sampling_per_token_logps"], inputs["completion_mask"] * inputs["tool_mask"]
        weights = importance_weights(logps, sampler_logps, mask, self)
        inputs["importance_sampling_ratio"] = weights
        self.agreement.add(logps, sampler_logps, mask, weights)
        if (self._step + 1) % self._sampled_every == 0:
            for name, value in self.agreement.metrics(self.accelerator.gather).items():
                self._metrics["train"][name].append(value)
            self.agreement = Agreement()
            self._check_gap(self.state.global_step + 1)
