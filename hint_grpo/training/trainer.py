"""HintGRPOTrainer: TRL's GRPOTrainer with hinted rollouts (paper section 3.2).

How a step differs from TRL's:

1. rollouts come from `hint_grpo.rollout`: levels are tried lowest first, and only the chosen group reaches TRL, so the policy
   and the reference model score one group per prompt however many were sampled;
2. the begun turn (`<think>` and the hint) stands at the start of the completion with `env_mask` 0: no loss, no KL, no reward,
   and the prompt stays what the processor made it;
3. rewards were given when a group was sampled, on what the model itself wrote; here they are only gathered;
4. vLLM is this project's (`hint_grpo.rollout`: in the process, or a server), set up after TRL's own set-up without it;
5. checkpoints appear whole and carry what TRL forgets: the data's order, and completions not trained on yet;
6. picture inputs that TRL does not know by name (Llama-3.2-Vision's) reach the model too (`hint_grpo.families`).

The loss is TRL's, with the constants that `hint_grpo.training.config` pins.
"""

import hint_grpo.machine.stack

import inspect
import math
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather, gather_object, is_peft_model
from datasets import Dataset
from torch.utils.data import Sampler
from transformers.trainer_utils import rotate_checkpoints
from trl import GRPOTrainer
from trl.data_utils import prepare_multimodal_messages
from trl.trainer.utils import RepeatSampler

from hint_grpo.families import WithRows, rows_left_out, vision_token_ids
from hint_grpo.machine.errors import UserError
from hint_grpo.prompts import Message, last_text
from hint_grpo.rollout.escalation import GroupScorer, LevelRule, RewardFunction, roll_out
from hint_grpo.rollout.hf import TransformersBackend
from hint_grpo.rollout.prompting import PromptEncoder, TurnBuilder, length_limits, usable_turns
from hint_grpo.rollout.server_process import ServerProcess
from hint_grpo.rollout.types import Group, Rollout, RolloutBackend, Sampled, Turn
from hint_grpo.training import checkpoints, ledger, model_card
from hint_grpo.training.config import HintGRPOConfig
from hint_grpo.training.monitoring import Health, Stages, warn

# The model inputs that TRL hands on; what else a family's processor makes of a picture goes by `WithRows`.
TRL_INPUTS = frozenset(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)


class EpochSampler(RepeatSampler):
    """RepeatSampler whose order follows from seed and epoch, so that a resumed run sees what it would have seen.

    TRL's draws every epoch's order from one generator: a resume in epoch 2 would replay epoch 1.
    """

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed(self.seed + epoch)


class HintGRPOTrainer(GRPOTrainer):
    """Trains on rows with id, image (path), question, solution, reasoning_steps and source.

    `accuracy` decides which hint level is trained on; `reward_funcs` are trained on. `server` is the vLLM server that this
    process started, on rank 0 of a run that has one of its own.
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
            raise UserError("vLLM does not have this model's family: take --use_vllm false")
        self.left_out: dict[str, torch.Tensor] = {}  # picture inputs that TRL does not hand on, a row per completion
        use_vllm, args.use_vllm = args.use_vllm, False  # TRL must not build its own engine
        rows = train_dataset.add_column("row", list(range(len(train_dataset))))
        super().__init__(
            model=model,
            reward_funcs=list(reward_funcs),
            args=args,
            train_dataset=rows,
            processing_class=processing_class,
            rollout_func=_completions_of_rollouts,
            **kwargs,
        )
        args.use_vllm = self.use_vllm = use_vllm
        self.stages = Stages(torch.cuda.synchronize if self.accelerator.device.type == "cuda" else lambda: None)
        self.health = Health(args)
        self._samples = train_dataset
        self._saving = False
        self.limits = length_limits(self.model.config, args)
        self.level_rule = LevelRule.named(args.level_rule, self.reward_weights.tolist())
        self.judge = GroupScorer(self.reward_funcs, accuracy, self.encoder.decode)
        self.turn_builder = TurnBuilder(
            self.encoder,
            args.policy,
            args.hint_injection,
            self.limits,
            args.seed,
        )
        self.backend = self._make_backend(server)
        self.rollouts: list[Rollout] = []

    @cached_property
    def identity(self) -> checkpoints.RunIdentity:
        """Reads every sample once: made when the first checkpoint is written, by the process that writes it."""
        return checkpoints.RunIdentity.of(self._samples, self.args)

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

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Sampler:
        return EpochSampler(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * self.args.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
        )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Prepares the batch's turns, then lets TRL generate (through `_completions_of_rollouts`) and score.

        Rows come G times in a row and whole groups stay on one rank (the batch size counts prompts), so a group is judged
        as one without asking other ranks.
        """
        rows = inputs[:: self.num_generations]
        step = self.state.global_step + 1
        prepared = [
            usable_turns(self.turn_builder, self.train_dataset, row, index=index, step=step)
            for index, row in enumerate(rows)
        ]
        self.judge.rows = [row for row, *_ in prepared]
        self.turns_BH = [turns for _, turns, _, _ in prepared]
        reasons = [reason for *_, reasons in prepared for reason in reasons]
        inputs = [
            {**row, "image": turns[0].prompt.image, "prompt": turns[0].prompt.messages}
            for row, turns, *_ in prepared
            for _ in range(self.num_generations)
        ]
        batch = super()._generate_and_score_completions(inputs)
        self._record(step, [skipped for _, _, skipped, _ in prepared], reasons)
        self._look_at_gap(step)
        return batch | self.left_out

    def _look_at_gap(self, step: int) -> None:
        """The same number on every rank, so that all of them stop or none."""
        gaps = self._metrics["train"].get("sampling/sampling_logp_difference/mean")  # None without vLLM
        if gaps and (warning := self.health.gap.look(gaps[-1], step)) and self.accelerator.is_main_process:
            warn(warning)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with self.stages("update"):  # what is left of a step when the stages inside it have taken their part
            return super().training_step(*args, **kwargs)

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        with self.stages("reference" if model is self.ref_model else "policy"):
            if self.left_out:
                model = WithRows(model, self.encoder.family, self.left_out)
                kwargs = {name: value for name, value in kwargs.items() if name in TRL_INPUTS}
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        names = [name for name in self.encoder.family.picture_names if name in inputs and name not in TRL_INPUTS]
        self.left_out = {name: inputs[name] for name in names}
        return super()._compute_loss(model, inputs)

    def judge_group(self, turn: Turn, completions: list[Sampled]) -> Group:
        """Scores a group; may be called beside the main thread."""
        start = time.monotonic()
        group = self.judge(turn, completions)
        self.stages.add("score", time.monotonic() - start)
        return group

    def _generate(self, prompts: list[list[Message]]) -> tuple[Any, ...]:
        """TRL's, with the completions as the model wrote them (it decodes the hint along)."""
        result = list(super()._generate(prompts))
        rows = [rollout.group.turn.prompt.image_inputs for rollout in self.rollouts for _ in rollout.group.texts]
        self.left_out = rows_left_out(rows, TRL_INPUTS)
        texts = [text for rollout in self.rollouts for text in rollout.group.texts]
        result[3] = [[{"role": "assistant", "content": text}] for text in texts]
        if self.args.hint_injection == "query":
            # The caller goes on to build the model's inputs from this very list: it must hold the hinted questions.
            chosen = [rollout.group.turn.prompt for rollout in self.rollouts]
            prompts[:] = [
                prepare_multimodal_messages(prompt.messages, images=[prompt.image])
                for prompt in chosen
                for _ in range(self.num_generations)
            ]
        return tuple(result)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> torch.Tensor:
        """(B * G of all ranks, F): the rewards given when the chosen groups were sampled."""
        local = [row_F for rollout in self.rollouts for row_F in rollout.group.rewards_GF]
        for rollout in self.rollouts:
            level = rollout.group.turn.hint
            for _ in rollout.group.texts:
                self._log_completion_extra("hint_level", [level.level])
                self._log_completion_extra("hint", [level.text])
        rewards = gather(torch.tensor(local, dtype=torch.float32, device=self.accelerator.device))
        num_unusable = self.health.rewards.look(rewards.flatten().tolist())
        self._metrics["train"]["rewards/unusable"].append(num_unusable)
        return rewards

    def _record(self, step: int, skipped_B: Sequence[int], reasons: list[str]) -> None:
        """Ledger and metrics of this batch, of all ranks together."""
        weights = self.reward_weights.tolist()
        local = [
            ledger.make_record(step, row, rollout, weights, skipped)
            for row, rollout, skipped in zip(self.judge.rows, self.rollouts, skipped_B, strict=True)
        ]
        records, replaced = gather_object(local), gather_object(reasons)
        for name, value in ledger.metrics(records, self.args.policy.num_levels).items():
            self._metrics["train"][name].append(value)
        self._metrics["train"]["data/replaced_samples"].append(len(replaced))
        self.health.signal.add(records, step)
        if self.accelerator.is_main_process:
            ledger.append(self.ledger_path, records)
            for reason in replaced:
                print(f"sample left out: {reason}", flush=True)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's, with three changes: a metric without a value in this step is left out (TRL logs None, which tensorboard
        refuses); the table of completions holds texts (TRL's message lists do not fit a table of wandb); and the log at the
        run's end does not repeat the last table."""
        metrics = self._metrics["train"]
        self.log_completions = self.args.log_completions and bool(metrics)
        for name in [name for name, values in metrics.items() if all(map(math.isnan, values))]:
            del metrics[name]
        for column in ("prompt", "completion"):
            texts = [last_text(messages) for messages in self._logs[column]]
            self._logs[column].clear()
            self._logs[column].extend(texts)
        super().log(logs, start_time)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """TRL calls it with every checkpoint; the card lies in the output folder."""
        if self.is_world_process_zero():
            facts = model_card.facts_of(
                self.args,
                base_model=self.model.config._name_or_path,
                is_adapter=is_peft_model(self.model),
                records=ledger.read(self.ledger_path) if self.ledger_path.exists() else (),
            )
            model_card.write_card(Path(self.args.output_dir), facts)

    def _get_output_dir(self, trial: Any) -> str:
        output_dir = super()._get_output_dir(trial)
        return str(checkpoints.unfinished_folder(Path(output_dir))) if self._saving else output_dir

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Writes the checkpoint aside and renames it when every rank's part is there."""
        folder = checkpoints.unfinished_folder(Path(self.args.output_dir)) / checkpoints.checkpoint_name(
            self.state.global_step
        )
        self._saving = True
        super()._save_checkpoint(model, trial)
        self._saving = False
        if self._buffered_inputs is not None and self._step % (self.args.steps_per_generation * self.num_iterations):
            checkpoints.save_rollouts(folder, self.accelerator.process_index, self._buffered_inputs)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            counters = {"micro_steps": self._step} | self.health.counters()
            checkpoints.write_identity(folder, self.identity, counters)
            checkpoints.publish(folder, Path(self.args.output_dir))
            rotate_checkpoints(
                output_dir=self.args.output_dir, save_total_limit=self.args.save_total_limit, use_mtime=True
            )
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Loads by `from_pretrained`: transformers' Trainer looks in the file for the names in memory (model.visual.*), where
        a checkpoint has the family's published ones (visual.*), finds none and goes on with the weights of the start."""
        model = self.model if model is None else model
        if is_peft_model(model) or self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        stored = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype)
        model.load_state_dict(stored.state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            folder = Path(checkpoint)
            written = checkpoints.read_identity(folder)
            self._step = written.get("micro_steps", self.state.global_step * self.args.gradient_accumulation_steps)
            self.health.restore(written, self.state.global_step)
            self._buffered_inputs = checkpoints.load_rollouts(
                folder, self.accelerator.process_index, self.accelerator.device
            )


def _completions_of_rollouts(prompts: list[Any], trainer: HintGRPOTrainer) -> dict[str, list[Any]]:
    """TRL's rollout_func: rolls out the turns at hand; begun tokens first, masked out of everything by env_mask."""
    with trainer.stages("generate"):
        trainer.rollouts = roll_out(
            trainer.turns_BH,
            trainer.backend,
            trainer.judge_group,
            num_generations=trainer.num_generations,
            lazy=trainer.args.escalation == "lazy",
            rule=trainer.level_rule,
        )
    result: dict[str, list[Any]] = {"prompt_ids": [], "completion_ids": [], "logprobs": [], "env_mask": []}
    for group in (rollout.group for rollout in trainer.rollouts):
        begun = group.turn.begun_ids
        for completion in group.completions:
            result["prompt_ids"].append(group.turn.prompt.ids)
            result["completion_ids"].append(begun + completion.token_ids)
            result["env_mask"].append([0] * len(begun) + [1] * len(completion.token_ids))
            result["logprobs"].append([None] * len(begun) + (completion.logps or []))
    if not trainer.use_vllm:
        return {**result, "logprobs": None}  # type: ignore[dict-item]  # TRL's word for "the sampler is the policy"
    return result
