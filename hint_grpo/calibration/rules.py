"""A checkpoint's rules for greedy decoding (generation_config.json, tokenizer), read once and applied alike by every backend."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hint_grpo.families import vision_token_ids
from hint_grpo.machine.errors import UserError

# Settings of a generation config that would change greedy decoding and that no backend here applies, with their neutral
# values. Sampling settings (temperature, top_p, ..) are not listed: greedy decoding ignores them.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "encoder_repetition_penalty": (None, 1.0),
    "bad_words_ids": (None, []),
    "sequence_bias": (None, {}),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "exponential_decay_length_penalty": (None,),
    "begin_suppress_tokens": (None, []),
    "guidance_scale": (None, 1.0),
    "num_beams": (None, 1),
}


@dataclass(frozen=True, slots=True)
class GreedyRules:
    """End tokens, repetition penalty (1.0 is none), and tokens that are never chosen.

    `suppressed_ids` are the vision tokens (one in a completion crashes the next forward pass) and the checkpoint's own.
    """

    eos_ids: tuple[int, ...]
    repetition_penalty: float
    suppressed_ids: tuple[int, ...]

    def finish_reason(self, token_ids: Sequence[int]) -> Literal["stop", "length"]:
        return "stop" if token_ids[-1] in self.eos_ids else "length"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a configuration that crosses a process boundary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "GreedyRules":
        """The inverse of `as_dict`."""
        return cls(tuple(values["eos_ids"]), values["repetition_penalty"], tuple(values["suppressed_ids"]))


def read_rules(config: Any, generation_config: Any, tokenizer: Any, repetition_penalty: float | None) -> GreedyRules:
    """The checkpoint's rules; `repetition_penalty`, if not None, replaces the generation config's.

    Raises UserError for a penalty of 0 or less, and for a setting that no backend here applies.
    """
    refuse_unknown_rules(generation_config)
    penalty = generation_config.repetition_penalty if repetition_penalty is None else repetition_penalty
    if penalty is not None and penalty <= 0:
        raise UserError(f"repetition_penalty {penalty} is not above 0; 1.0 means no penalty")
    vision_ids = vision_token_ids(config, tokenizer)
    also = getattr(generation_config, "suppress_tokens", None) or ()
    suppressed_ids = tuple(sorted({*vision_ids, *also}))
    return GreedyRules(_eos_ids(generation_config, tokenizer), float(penalty or 1.0), suppressed_ids)


def refuse_unknown_rules(generation_config: Any) -> None:
    """UserError for a setting that changes greedy decoding and is not applied here (`_NEUTRAL`)."""
    for name, neutral in _NEUTRAL.items():
        value = getattr(generation_config, name, None)
        if value not in neutral:
            raise UserError(
                f"the model's generation_config.json sets {name}={value!r}, which calibrated decoding does not apply: "
                "remove that line"
            )


def _eos_ids(generation_config: Any, tokenizer: Any) -> tuple[int, ...]:
    ids = generation_config.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    return tuple(ids) if isinstance(ids, list | tuple) else (ids,)
