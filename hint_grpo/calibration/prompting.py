"""From a DecodeRequest to the token ids of its one or two prompts; the same for every backend.

Calibration compares the model's logits with and without the picture (paper section 3.3), so a calibrated question has two
prompts: the evaluation message, and the same message without its image part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.data.paths import BadImage
from hint_grpo.data.picture_processing import Pictures
from hint_grpo.families import family_of
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
    hint_grpo.data.picture_processing.
    """

    def __init__(
        self, processor: Any, *, max_new_tokens: int, context_length: int, picture_processing: str = "processor"
    ) -> None:
        self.processor = processor
        self.pictures = Pictures(processor, picture_processing)
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
        question = EncodedQuestion(
            request,
            self._ids(request, with_image=image is not None),
            self._ids(request, with_image=False) if scale and image is not None else None,
            0 if image is None else self.family.num_image_tokens(*image.size),
        )
        self._refuse_too_long(question)
        return question, image

    def picture(self, request: DecodeRequest) -> Image | None:
        """The picture as given to the processor; None for a question without one. UserError for an unusable picture."""
        if request.image is None:
            return None
        try:
            return self.pictures.resized(self.pictures.open(request.image))
        except BadImage as error:
            raise UserError(f"question {request.id}: {request.image}: {error}") from error

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
