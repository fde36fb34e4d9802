"""From a data row to its turns: open the picture, encode the prompt, make one turn per hint level that fits.

A row that cannot be used (broken picture, prompt too long) raises `Unusable`; the trainer uses the next row instead and counts
it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from hint_grpo.data.paths import BadImage
from hint_grpo.data.picture_processing import Pictures
from hint_grpo.families import PER_TOKEN, family_of
from hint_grpo.hints import HintLevel, LengthLimits
from hint_grpo.machine.errors import UserError
from hint_grpo.policies.base import NO_HINT, HintedSample, HintPolicy, levels_of
from hint_grpo.policies.history import Memory, Tried
from hint_grpo.prompts import Message, begun_turn, question_with_hint, training_messages
from hint_grpo.rollout.escalation import EncodedPrompt, Turn, turn_seed
from hint_grpo.scoring.rewards import columns_of

# `<think>` and a reasoning shorter than 512 tokens (the data filter's limit), and some room for tokens at the joints.
MAX_BEGUN_TOKENS = 544


class PromptEncoder:
    """Prompts to token ids, with the model's own processor and chat template: the one place that calls it for a rollout."""

    def __init__(self, processor: Any, picture_processing: str = "processor") -> None:
        self.processor = processor
        self.pictures = Pictures(processor, picture_processing)
        self.tokenizer = processor.tokenizer
        self.family = family_of(processor)

    def prompt(self, messages: list[Message], image: Any, sampler_image: Any = None) -> EncodedPrompt:
        """`image` is the policy's picture, `sampler_image` vLLM's (None: the same)."""
        messages = self.family.messages(messages)
        text = self.family.text(messages)
        inputs = dict(self.processor(text=[text], images=[image], return_tensors="pt", add_special_tokens=False))
        ids = inputs["input_ids"][0].tolist()
        image_inputs = {name: tensor for name, tensor in inputs.items() if name not in PER_TOKEN}
        if sampler_image is None:
            sampler_image = image
        return EncodedPrompt(messages, ids, self.family.ids(text), image, image_inputs, sampler_image)

    def begun(self, text: str) -> list[int]:
        """Token ids of the begun turn. The chat template ends the prompt with a line break, which is a token boundary: encoded
        apart it gives the same tokens as together with the prompt."""
        return self.family.ids(text)

    def decode(self, token_ids: list[int]) -> str:
        return self.tokenizer.decode(token_ids, skip_special_tokens=True)


class LengthSettings(Protocol):
    """The flags that bound lengths, in tokens (hint_grpo.training.config)."""

    max_prompt_length: Any
    max_completion_length: Any
    vllm_max_model_length: Any


def length_limits(model_config: Any, args: LengthSettings) -> LengthLimits:
    """How long prompt, hint and completion may be together: what they need at most, within the model's positions.

    Raises UserError if nothing can ever fit.
    """
    needed = args.max_prompt_length + MAX_BEGUN_TOKENS + args.max_completion_length
    context = min(model_config.get_text_config().max_position_embeddings, args.vllm_max_model_length or needed)
    if context <= args.max_completion_length:
        raise UserError(
            f"a context of {context} tokens (the model's, or --vllm_max_model_length) leaves no room for a prompt beside "
            f"--max_completion_length {args.max_completion_length}: lower that, or raise the context"
        )
    return LengthLimits(args.max_prompt_length, args.max_completion_length, context)


class Unusable(Exception):
    """Why a row cannot be trained on."""


@dataclass(frozen=True, slots=True)
class TurnBuilder:
    """Makes turns from rows. `progress` gives the share of the training that is done before a step; `memory` is what the hint
    policy may know of earlier steps."""

    encoder: PromptEncoder
    policy: HintPolicy
    injection: Literal["answer", "query"]
    limits: LengthLimits
    run_seed: int
    progress: Callable[[int], float] = lambda step: 0.0
    memory: Memory = field(default_factory=Memory)

    def turns(self, row: dict[str, Any], *, index: int, step: int) -> tuple[list[Turn], int]:
        """The row's turns, lowest level first, and how many levels were skipped because they do not fit.

        Raises Unusable if the picture cannot be read or not even level 0 fits.
        """
        levels = self.levels(row, step)
        prompt = self._prompt(row, "", self._images(row))
        turns = {level.level: self._turn(row, level, prompt, index, step) for level in levels}
        lengths = {level: (len(turn.prompt.ids), len(turn.begun_ids)) for level, turn in turns.items()}
        fitting, problem = self.limits.fitting_levels(len(prompt.ids), lengths)
        if problem:
            raise Unusable(problem)
        return [turns[level] for level in fitting], len(turns) - len(fitting)

    def levels(self, row: dict[str, Any], step: int, group: tuple[Tried, ...] = ()) -> tuple[HintLevel, ...]:
        """The policy's levels for a row; `group` is what was sampled for it in this step (mixing policies)."""
        key = f"{self.run_seed}/{step}/{row['id']}"
        sample = HintedSample(row["id"], row["reasoning_steps"], key, columns_of(row))
        return levels_of(self.policy, sample, self.progress(step), self.memory.of(row["id"], group))

    def next_turn(
        self, prompts: "Sequence[PreparedPrompt]", step: int, index: int, number: int, group: tuple[Tried, ...]
    ) -> Turn:
        """The turn of round `number` (from 1) of the mixed group of `prompts[index]`, after the rounds in `group`.

        A hint that does not fit the context is left out.
        """
        row, first = prompts[index].row, prompts[index].turns[0]
        hint = self.levels(row, step, group)[0]
        plain = self._prompt(row, "", (first.prompt.image, first.prompt.sampler_image))
        turn = self._turn(row, replace(hint, level=number), plain, index, step)
        if not self.limits.prompt_fits(len(turn.prompt.ids), len(turn.begun_ids)):
            turn = self._turn(row, replace(NO_HINT[0], level=number), plain, index, step)
        return turn

    def turn(self, row: dict[str, Any], level: HintLevel, *, index: int, step: int) -> Turn:
        """The row's turn with one hint, whatever the policy says. Raises Unusable if the picture cannot be read."""
        return self._turn(row, level, self._prompt(row, "", self._images(row)), index, step)

    def _images(self, row: dict[str, Any]) -> tuple[Any, Any]:
        try:
            return self.encoder.pictures.policy_and_sampler(row["image"])
        except BadImage as error:
            raise Unusable(str(error)) from error

    def _prompt(self, row: dict[str, Any], hint: str, images: tuple[Any, Any]) -> EncodedPrompt:
        return self.encoder.prompt(training_messages(question_with_hint(row["question"], hint)), *images)

    def _turn(self, row: dict[str, Any], level: HintLevel, prompt: EncodedPrompt, index: int, step: int) -> Turn:
        if self.injection == "query":  # the hint ends the question; the turn begins with `<think>` alone
            images = (prompt.image, prompt.sampler_image)
            prompt, begun = (self._prompt(row, level.text, images) if level.text else prompt), begun_turn("")
        else:  # the hint begins the model's answer
            begun = begun_turn(level.text)
        seed = turn_seed(self.run_seed, step, row["id"], level.level)
        hint_tokens = len(self.encoder.begun(level.text)) if level.text else 0
        return Turn(index, level, prompt, begun, self.encoder.begun(begun), hint_tokens, seed)


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """A prompt that can be sampled: the row it was made from, its turns (H, lowest level first), how many levels were skipped
    because they do not fit, and why rows before this one could not be used."""

    row: dict[str, Any]
    turns: list[Turn]
    num_skipped: int
    rejected: list[str]


def prepare_prompt(
    builder: TurnBuilder, dataset: Sequence[dict[str, Any]], row: dict[str, Any], *, index: int, step: int
) -> PreparedPrompt:
    """Prepares `row`, or the next usable row after it in the data. Raises Unusable if no row of the data set can be used."""
    rejected: list[str] = []
    for offset in range(len(dataset)):
        candidate = row if offset == 0 else dataset[(row["row"] + offset) % len(dataset)]
        try:
            turns, num_skipped = builder.turns(candidate, index=index, step=step)
        except Unusable as reason:
            rejected.append(f"{candidate['source']}: {reason}")
            continue
        return PreparedPrompt(candidate, turns, num_skipped, rejected)
    raise Unusable(f"none of the {len(dataset)} samples can be used; the last: {rejected[-1]}")
