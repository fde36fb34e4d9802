"""HintGRPOTrainer: TRL's GRPOTrainer with hinted rollouts (paper section 3.2).

One generation batch of one rank, B prompts with up to H hint levels and G completions each:

    B rows of the data set                                   id, image, question, solution, reasoning_steps
      |  prepare_prompt: picture, prompt, hints (hint_grpo.rollout.prompting)
    B x H turns                                              prompt ids, begun ids (`<think>` + hint of level 0 .. H-1)
      |  roll_out: levels until one completion is right (hint_grpo.training.sampling, hint_grpo.rollout.escalation)
    B rollouts: {level: group of G completions}, one chosen  token ids, log-probabilities, rewards (G, F)
      |  RolloutBatch (hint_grpo.training.batch)
    B * G rows for TRL, of the chosen groups alone           prompt ids | begun ids + sampled ids, env_mask 0 .. 0 1 .. 1
      |  TRL: log-probabilities of policy and reference, advantages, loss
    ledger and metrics

How a step differs from TRL's:

1. several hint levels are sampled, and only the chosen group reaches TRL, so that the policy and the reference model score one
   group per prompt however many were sampled;
2. the completion starts with the begun turn, with `env_mask` 0: no loss, no KL, no reward; the prompt stays as the processor
   made it;
3. rewards were given when a group was sampled, on what the model itself wrote; here they are only gathered;
4. if the weights do not change between sampling and the loss, the correction of vLLM's rounding is made from the loss's own
   forward pass (`hint_grpo.training.corrected`); TRL runs one more for it;
5. vLLM is this project's (`hint_grpo.rollout`: in the process, or a server), set up after TRL's own set-up without it;
6. checkpoints are atomic and store state that TRL omits (`hint_grpo.training.resumable`);
7. picture inputs that TRL does not know by name (Llama-3.2-Vision's) reach the model too (`hint_grpo.families`);
8. on request a server samples the next batch while this one is trained on (`hint_grpo.training.ahead`).

The loss is TRL's, with the constants that `hint_grpo.training.config` pins.
"""

import hint_grpo.machine.stack

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather, gather_object, is_peft_model
from datasets import Dataset
from trl.extras.profiling import profiling_context

from hint_grpo.families import WithRows, vision_token_ids
from hint_grpo.machine.errors import UserError
from hint_grpo.policies.history import Memory
from hint_grpo.prompts import Message
from hint_grpo.rollout.escalation import LevelRule, RolloutBackend
from hint_grpo.rollout.hf import TransformersBackend
from hint_grpo.rollout.mixed import separate_advantages
from hint_grpo.rollout.prompting import PromptEncoder, TurnBuilder, length_limits
from hint_grpo.rollout.scorer import GroupScorer
from hint_grpo.rollout.server_process import ServerProcess
from hint_grpo.scoring.rewards import RewardFunction
from hint_grpo.training import ahead, completion_table, ledger, model_card, rollout_log
from hint_grpo.training.batch import MODEL_INPUTS, Generated, RolloutBatch, with_texts
from hint_grpo.training.config import HintGRPOConfig
from hint_grpo.training.corrected import CorrectedTrainer
from hint_grpo.training.hint_loss import hint_mask, hint_nll
from hint_grpo.training.importance import GAP
from hint_grpo.training.monitoring import Health, Stages, warn
from hint_grpo.training.sampling import BatchSampler, reward_arguments


class HintGRPOTrainer(CorrectedTrainer):
    """Trains on rows with id, image (path), question, solution, reasoning_steps and source.

    `accuracy` decides which hint level is trained on; `reward_funcs` are trained on. `server` is the vLLM server that this
    process started, on rank 0 of a run that has one.
    """

    _tag_names = ["trl", "grpo", "hint-grpo"]
    args: HintGRPOConfig

    def __init__(
        self,
        model: Any,
        reward_funcs: list[RewardFunction],
        accuracy: RewardFunction,
        args: HintGRPOConfig,
        train_dataset: Dataset,
        processing_class: Any,
        server: ServerProcess | None = None,
        **kwargs: Any,
    ) -> None:
        self.encoder = PromptEncoder(processing_class, args.picture_processing)
        if args.use_vllm and not self.encoder.family.in_vllm:
            raise UserError("vLLM does not support this model's family; use --use_vllm false")
        use_vllm, args.use_vllm = args.use_vllm, False  # TRL must not build its own engine
        log_completions, args.log_completions = args.log_completions, False  # nor write its own tables (`log`)
        rows = train_dataset.add_column("row", list(range(len(train_dataset))))
        super().__init__(
            model=model,
            reward_funcs=list(reward_funcs),
            args=args,
            train_dataset=rows,
            processing_class=processing_class,
            rollout_func=_completions_of_batch,
            samples=train_dataset,
            health=Health(args),
            **kwargs,
        )
        args.use_vllm = self.use_vllm = use_vllm
        args.log_completions = log_completions
        self.stages = Stages(torch.cuda.synchronize if self.accelerator.device.type == "cuda" else lambda: None)
        self.limits = length_limits(self.model.config, args)
        policy = args.policy  # made anew every time that it is asked for
        rule = LevelRule.named(args.level_rule, self.reward_weights.tolist())
        self.level_rule = replace(rule, unsolved=policy.unsolved)
        self.scorer = GroupScorer(
            self.reward_funcs,
            accuracy,
            self.encoder.decode,
            args.accuracy_threshold,
            lambda: reward_arguments(self.state, self._log_metric),
        )
        self.turn_builder = TurnBuilder(
            self.encoder, policy, args.hint_injection, self.limits, args.seed, self.progress
        )
        self.backend = self._make_backend(server)
        self.rollout_log = rollout_log.RolloutLog(
            Path(args.output_dir) / rollout_log.FOLDER, args.keep_rollouts, int(args.max_rollouts_mb * 1e6)
        )
        # With --rollouts_ahead: the batch that is being sampled, and a processor for the thread that does it.
        self.pending: ahead.Pending | None = None
        if args.rollouts_ahead:
            self.encoder_ahead = PromptEncoder(deepcopy(processing_class), args.picture_processing)
        # The log-probabilities of the last forward pass, for the loss on hints.
        self._last_logps: Any = None
        self.rows: list[list[rollout_log.Row]] = []
        """The rollouts of the last batch, of all ranks, one list per prompt; in the main process, if they are stored or shown."""
        # The last batch sampled. TRL's call chain passes no value of ours, so its hooks below read it here; it is set in one
        # place, before they are called.
        self.batch = RolloutBatch(0, (), ())

    @property
    def ledger_path(self) -> Path:
        return Path(self.args.output_dir) / ledger.FILE_NAME

    def _make_backend(self, server: ServerProcess | None) -> RolloutBackend:
        never = vision_token_ids(self.model.config, self._tokenizer)
        if not self.use_vllm:
            return TransformersBackend(self, never)
        self._last_loaded_step = -1
        context_length = self.limits.context_length or 0
        if self.args.placement.kind == "colocate":
            from hint_grpo.rollout.vllm_colocate import ColocatedVLLM

            hint_grpo.machine.stack.inspect_models_in_this_process()
            max_num_seqs = self.args.sequences_per_process
            self.vllm_generation = ColocatedVLLM(self, never, context_length=context_length, max_num_seqs=max_num_seqs)
        else:
            from hint_grpo.rollout.vllm_server import ServedVLLM

            self.vllm_generation = ServedVLLM(self, never, context_length=context_length, server=server)
        return self.vllm_generation

    # --- sampling: rows to RolloutBatch ---

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Samples the batch, then lets TRL compute log-probabilities and advantages of the chosen groups.

        `inputs` repeats each row G times. Whole groups stay on one rank (the batch size counts prompts), so a group is scored
        without asking other ranks.
        """
        step = self.state.global_step + 1
        self.batch = self._next_batch(inputs[:: self.num_generations], step)
        scored = super()._generate_and_score_completions(self.batch.trl_inputs())
        if self.args.group_statistics == "separate":
            divide = self.args.scale_rewards == "group"
            own = separate_advantages(self.batch.rollouts, self.reward_weights.tolist(), divide=divide)
            scored["advantages"] = scored["advantages"].new_tensor(own)
        self._record(self.batch, scored["advantages"].tolist())
        if not self._corrects_in_the_loss:
            self._check_gap(step)
        if self.args.hint_loss_weight:
            completion_ids = scored["completion_ids"]
            scored["hint_mask"] = hint_mask(self.batch.groups, completion_ids.size(1)).to(completion_ids.device)
        return scored | self.batch.extra_inputs

    def _next_batch(self, rows: list[dict[str, Any]], step: int) -> RolloutBatch:
        """The batch to train on; with --rollouts_ahead it has been sampled already, and the next one is started."""
        if not self.args.rollouts_ahead:
            return self.sample(rows, step)
        batch = self._take_ahead(rows, step) or self.sample(rows, step)
        self.accelerator.wait_for_everyone()  # from here on no rank has a request in flight
        self._sync_weights()
        if step < self.state.max_steps:
            rows = [self.train_dataset[row] for row in self.rows_of_batch(step)]
            self.pending = ahead.start(self.sampler, self.encoder_ahead, rows, step + 1, self.state)
        return batch

    def sample(self, rows: list[dict[str, Any]], step: int) -> RolloutBatch:
        """B rows to B rollouts, by the policy's current weights."""
        sampler = self.sampler
        prompts = sampler.prepare(rows, step)
        self._sync_weights()
        with self.stages("generate"):
            return sampler.sample(prompts, step, weights_step=self.state.global_step)

    @property
    def sampler(self) -> BatchSampler:
        return BatchSampler(
            dataset=self.train_dataset,
            builder=self.turn_builder,
            scorer=self.scorer,
            rule=self.level_rule,
            backend=self.backend,
            args=self.args,
            weights_F=self.reward_weights.tolist(),
            rank=self.accelerator.process_index,
            add_score_seconds=partial(self.stages.add, "score"),
        )

    def _take_ahead(self, rows: list[dict[str, Any]], step: int) -> RolloutBatch | None:
        """Waits for the batch that is being sampled; None if none is (in a run's first step)."""
        pending, self.pending = self.pending, None
        if pending is None:
            return None
        with self.stages("generate"):
            batch = pending.batch.result()
        ahead.check_rows(batch, step, rows, self.train_dataset)
        for name, value in pending.logged:
            self._log_metric(name, value)
        return batch

    def progress(self, step: int) -> float:
        """The share of the training that is done before a step, which counts from 1; 0 if the number of steps is not known."""
        num_steps = self.state.max_steps or self.args.max_steps
        return min((step - 1) / num_steps, 1.0) if num_steps > 0 and step > 0 else 0.0

    def _sync_weights(self) -> None:
        """Hands the weights to vLLM once per optimizer step, as TRL does before it generates. Before the first step nothing is
        sent if vLLM has loaded the same weights itself (`run.engine_loads_the_policy`)."""
        step = self.state.global_step
        if not self.use_vllm or step == self._last_loaded_step:
            return
        if step == 0 and self._last_loaded_step < 0 and self.vllm_generation.loaded_the_policy:
            self.vllm_generation.has_frozen = True
        else:
            with profiling_context(self, "sync_weights"):
                self.vllm_generation.sync_weights()
        self._last_loaded_step = step

    # --- TRL's hooks: they read the batch that has just been sampled ---

    def _generate(self, prompts: list[list[Message]]) -> Generated:
        return with_texts(super()._generate(prompts), self.batch.texts)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> torch.Tensor:
        """(B * G of all ranks, F): the rewards given when the chosen groups were sampled."""
        rewards = gather(torch.tensor(self.batch.rewards, dtype=torch.float32, device=self.accelerator.device))
        num_unusable = self.health.rewards.look(rewards.flatten().tolist())
        self._metrics["train"]["rewards/unusable"].append(num_unusable)
        return rewards

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """TRL's; while the batch is scored, the model also gets the picture inputs that TRL does not know by name."""
        with self.stages("reference" if model is self.ref_model else "policy"):
            kwargs = {name: value for name, value in kwargs.items() if name in MODEL_INPUTS}
            if not isinstance(model, WithRows) and self.batch.extra_inputs:
                model = WithRows(model, self.encoder.family, self.batch.extra_inputs)
            result = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        self._last_logps = result[0] if self.args.hint_loss_weight else None
        return result

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """TRL's; the batch trained on brings its own extra picture inputs (it may be older than the one sampled last)."""
        names = [name for name in self.encoder.family.picture_names if name in inputs and name not in MODEL_INPUTS]
        extra_inputs = {name: inputs[name] for name in names}
        if names:
            model = WithRows(model, self.encoder.family, extra_inputs)
        loss = super()._compute_loss(model, inputs)
        return loss if "hint_mask" not in inputs else loss + self._hint_loss(inputs["hint_mask"])

    def _hint_loss(self, mask: torch.Tensor) -> torch.Tensor | float:
        """--hint_loss_weight times the mean NLL of the hint's tokens, of the log-probabilities that the loss was made of."""
        nll = hint_nll(self._last_logps, mask)
        self._metrics["train"]["hint/nll"].append(gather(nll.detach()).nanmean().item())
        # As TRL's loss: a mean over the micro-batches that are accumulated.
        return self.args.hint_loss_weight * nll.nan_to_num(0.0) / self.current_gradient_accumulation_steps

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with self.stages("update"):  # the rest of a step, without the stages inside it
            return super().training_step(*args, **kwargs)

    def save_more(self, folder: Path) -> None:
        if self.pending is not None:
            with self.stages("generate"):
                ahead.store(ahead.file_in(folder, self.accelerator.process_index), self.pending)

    def restore_more(self, folder: Path, step: int) -> None:
        self._restore_history(step)
        # Of other data or settings, the stored batch would be another step's: it is sampled anew.
        if self.args.rollouts_ahead and not self.args.resume_anyway:
            file = ahead.file_in(folder, self.accelerator.process_index)
            self.pending = ahead.restore(file, self.turn_builder, self.train_dataset)

    def _restore_history(self, step: int) -> None:
        """What the hint policy knew after `step`, from the main process' ledger."""
        if not self.turn_builder.policy.uses_history:
            return
        records = [ledger.read_until(self.ledger_path, step) if self.accelerator.is_main_process else None]
        (found,) = broadcast_object_list(records)
        if not found and step and self.accelerator.is_main_process:
            warn(
                f"{self.ledger_path} has no record of the steps before {step}: the hint policy starts without a history"
            )
        self.turn_builder = replace(self.turn_builder, memory=Memory())
        self.turn_builder.memory.add(found or ())

    # --- ledger, metrics and log of a step ---

    def _record(self, batch: RolloutBatch, advantages: list[float]) -> None:
        """Ledger, rollout log and metrics of this batch, of all ranks together. `advantages`: (B * G), of this rank."""
        weights = self.reward_weights.tolist()
        redrawn = batch.redrawn_tokens or [0] * len(batch.prompts)
        local = [
            ledger.make_record(batch.step, batch.weights_step, prompt.row, rollout, weights, prompt.num_skipped, tokens)
            for prompt, rollout, tokens in zip(batch.prompts, batch.rollouts, redrawn, strict=True)
        ]
        rows = []
        if not self.rollout_log.is_off or self._shows_completions:
            rows = rollout_log.rows_of(batch.step, batch.rows, batch.rollouts, self.reward_func_names, advantages)
        # One collective for all three; then, for each, the lists of all ranks behind one another.
        by_rank = gather_object([(local, batch.rejected, rows, [batch.num_redrawn])])
        records, rejected, rows, num_redrawn = (
            list(chain.from_iterable(lists)) for lists in zip(*by_rank, strict=True)
        )
        if self.turn_builder.policy.uses_history:
            self.turn_builder.memory.add(records)
        for name, value in ledger.metrics(records, self.turn_builder.policy.num_levels).items():
            self._metrics["train"][name].append(value)
        self._metrics["train"]["data/replaced_samples"].append(len(rejected))
        if self.args.keep_sampling:
            self._metrics["train"]["data/redrawn_prompts"].append(sum(num_redrawn))
        self.health.signal.add(records, batch.step)
        if self.accelerator.is_main_process:
            ledger.append(self.ledger_path, records)
            self.rollout_log.append(batch.step, rows)
            self.rows = rows
            for reason in rejected:
                print(f"sample left out: {reason}", flush=True)

    def _check_gap(self, step: int) -> None:
        """Compares vLLM's log-probabilities with the policy's. The number is the same on every rank, so all stop or none."""
        gaps = self._metrics["train"].get(f"{GAP}/mean")  # None without vLLM
        if gaps and (warning := self.health.gap.look(gaps[-1], step)) and self.accelerator.is_main_process:
            warn(warning)

    @property
    def _shows_completions(self) -> bool:
        return self.args.log_completions and (self._reports_to_wandb or self.args.num_completions_to_print != 0)

    @property
    def _reports_to_wandb(self) -> bool:
        return "wandb" in (self.args.report_to or ())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's, with two changes: a metric without a value in this step is left out (TRL logs None, which tensorboard refuses);
        and completions are shown by this project's table instead of TRL's."""
        metrics = self._metrics["train"]
        is_of_a_step = bool(metrics)  # not at the run's end
        for name in [name for name, values in metrics.items() if all(map(math.isnan, values))]:
            del metrics[name]
        super().log(logs, start_time)
        if is_of_a_step and self._shows_completions and self.accelerator.is_main_process:
            self._show_completions()

    def _show_completions(self) -> None:
        """Prints completions, and sends the table to wandb every `--log_completions_steps` steps."""
        step = self.state.global_step
        for line in completion_table.lines(self.rows, self.args.num_completions_to_print):
            print(line, flush=True)
        if self._reports_to_wandb and step % self.args.log_completions_steps == 0:
            completion_table.send_to_wandb(step, self.rows, with_pictures=self.args.log_multimodal)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """TRL calls it with every checkpoint; the card is in the output folder."""
        if self.is_world_process_zero():
            facts = model_card.facts_of(
                self.args,
                base_model=self.model.config._name_or_path,
                is_adapter=is_peft_model(self.model),
                records=ledger.read(self.ledger_path) if self.ledger_path.exists() else (),
            )
            model_card.write_card(Path(self.args.output_dir), facts)


def _completions_of_batch(prompts: list[Any], trainer: HintGRPOTrainer) -> dict[str, Any]:
    """TRL's `rollout_func`: the batch was sampled before TRL was asked to generate."""
    return trainer.batch.trl_completions(with_logps=trainer.use_vllm)
