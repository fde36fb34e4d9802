"""From a DecodeRequest to the token ids of its one or two prompts, and the rules of greedy decoding; the same for every backend.

Calibration compares the model's logits with and without the picture (paper section 3.3), so a calibrated question has two
prompts: the evaluation message, and the same message without its image part.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

from PIL.Image import Image

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.data.decoded import read_decoded
from hint_grpo.data.paths import BadImage
from hint_grpo.data.picture_processing import Pictures
from hint_grpo.families import family_of, vision_token_ids
from hint_grpo.machine.errors import UserError
from hint_grpo.prompts import evaluation_messages


@dataclass(frozen=True, slots=True)
class EncodedQuestion:
    """A question as token ids.

    `prompt_ids` is the prompt that is answered; one placeholder stands for the whole picture, however many tokens it becomes
    (`num_image_tokens`). `text_ids` is the text-only branch, None if there is nothing to calibrate (scale 0, or no picture).
    """

    request: DecodeRequest
    prompt_ids: list[int]
    text_ids: list[int] | None
    num_image_tokens: int

    @property
    def prompt_lengths(self) -> tuple[int, ...]:
        """Length in tokens of each prompt as the model sees it, the picture's tokens included."""
        with_image = len(self.prompt_ids) + max(self.num_image_tokens - 1, 0)
        return (with_image,) if self.text_ids is None else (with_image, len(self.text_ids))


class QuestionEncoder:
    """Encodes questions with the model's own chat template.

    `context_length` limits prompt and completion together, in tokens. `picture_processing`: see
    hint_grpo.data.picture_processing. `decoded_file`: the open file (its number) in which the pictures of `request.decoded` lie.
    """

    def __init__(
        self,
        processor: Any,
        *,
        max_new_tokens: int,
        context_length: int,
        picture_processing: str = "processor",
        decoded_file: int | None = None,
    ) -> None:
        self.processor = processor
        self.pictures = Pictures(processor, picture_processing)
        self.decoded_file = decoded_file
        self.tokenizer = processor.tokenizer
        self.family = family_of(processor)
        self.max_new_tokens = max_new_tokens
        self.context_length = context_length

    def encode(self, request: DecodeRequest, scale: float) -> tuple[EncodedQuestion, Image | None]:
        """The question's prompts, and its picture for backends that need it.

        Raises UserError for an unusable picture, a prompt that does not fit the context, a question that contains the
        picture token, or an unsupported chat template.
        """
        image = self.picture(request)
        return self._question(request, scale, None if image is None else image.size), image

    def encode_prompts(self, request: DecodeRequest, scale: float) -> EncodedQuestion:
        """The question's prompts; if the picture's size is known, without opening it. Raises UserError as `encode` does."""
        if request.image is None or request.decoded is None:
            return self.encode(request, scale)[0]
        with _named(request):
            size = self.pictures.resized_size(request.decoded.width, request.decoded.height)
        return self._question(request, scale, size)

    def picture(self, request: DecodeRequest) -> Image | None:
        """The picture as given to the processor; None for a question without one. UserError for an unusable picture."""
        if request.image is None:
            return None
        with _named(request):
            return self.pictures.resized(self._opened(request))

    def _opened(self, request: DecodeRequest) -> Image:
        if self.decoded_file is not None and request.decoded is not None and request.decoded.offset is not None:
            return read_decoded(self.decoded_file, request.decoded)
        assert request.image is not None
        return self.pictures.open(request.image)

    def _question(self, request: DecodeRequest, scale: float, size: tuple[int, int] | None) -> EncodedQuestion:
        """`size`: (width, height) in pixels of the picture that the processor gets."""
        question = EncodedQuestion(
            request,
            self._ids(request, with_image=size is not None),
            self._ids(request, with_image=False) if scale and size is not None else None,
            0 if size is None else self.family.num_image_tokens(*size),
        )
        self._refuse_too_long(question)
        return question

    def completion_text(self, token_ids: Sequence[int]) -> str:
        """The text of a completion, without special tokens."""
        return self.tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _ids(self, request: DecodeRequest, *, with_image: bool) -> list[int]:
        messages = evaluation_messages(request.question, with_image=True)
        ids = self.family.ids(self.family.text(messages) if with_image else self.family.text_without_picture(messages))
        placeholders = ids.count(self.family.image_token_id)
        if placeholders < int(with_image):
            raise UserError(
                f"the chat template of {type(self.processor).__name__} writes no {self.processor.image_token!r} for a "
                "picture: calibrated decoding does not support this model family"
            )
        if placeholders > int(with_image):
            raise UserError(
                f"question {request.id} contains the picture token {self.processor.image_token!r}: remove it"
            )
        return ids

    def _refuse_too_long(self, question: EncodedQuestion) -> None:
        length = max(question.prompt_lengths)
        if length + self.max_new_tokens > self.context_length:
            raise UserError(
                f"question {question.request.id}: its prompt of {length} tokens ({question.num_image_tokens} of them "
                f"the picture) and {self.max_new_tokens} new ones do not fit a context of {self.context_length} tokens: "
                "lower --max_pixels or --max_new_tokens"
            )


@contextmanager
def _named(request: DecodeRequest) -> Iterator[None]:
    """An unusable picture as a mistake of the user, with the question and the file."""
    try:
        yield
    except BadImage as error:
        raise UserError(f"question {request.id}: {request.image}: {error}") from error


# ----------------------------------------------------------------------------------------------------
# A checkpoint's rules for greedy decoding (generation_config.json, tokenizer), read once and applied alike by every backend

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
