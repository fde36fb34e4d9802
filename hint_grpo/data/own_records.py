"""Reads a user's own records into samples.

    {"image": "pictures/7.png", "question": "How many discs?", "solution": 4,
     "reasoning_steps": ["Row 1 has 1.", "Row 2 has 3."]}

`id` is optional. `reasoning_steps` may be missing or empty; such a sample never gets a hint. The image path is relative
to the data folder. A letter as solution becomes its option's text, as for LLaVA-CoT (llava_cot.py). Other fields reach
rewards and hint policies as columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from hint_grpo.data.fill_in import clean_question, fill_in, one_image, refuse_special_tokens
from hint_grpo.data.jsonl import BadRecord, JsonRecord, UniqueIds, other_fields, text_field
from hint_grpo.data.paths import BadImage, ImageRoot
from hint_grpo.data.samples import Dropped, Filter, Outcome, Refused, Sample

FIELDS = ("id", "image", "question", "solution", "reasoning_steps")


@dataclass(frozen=True)
class OwnReader:
    """Turns a record into a sample or a drop; raises BadRecord if the record does not have this schema."""

    root: ImageRoot
    ids: UniqueIds
    keep_multiple_choice: bool

    def __call__(self, record: JsonRecord) -> Iterator[Outcome]:
        question = clean_question(text_field(record.fields, "question"))
        solution = text_field(record.fields, "solution").strip()
        steps = own_steps(record)
        if not question or not solution:
            raise BadRecord('"question" or "solution" is empty')
        try:
            image = text_field({"image": one_image(record.fields.get("image"))}, "image")
            refuse_special_tokens(question, solution, *steps)
            question, value = fill_in(question, solution, keep_multiple_choice=self.keep_multiple_choice)
            yield Sample(
                id=self.ids.claim(str(record.fields.get("id") or record.source), record.source),
                image=self.root.absolute(image),
                question=question,
                solution=solution if value is None else value,
                reasoning_steps=steps,
                source=record.source,
                extra=other_fields(record.fields, FIELDS),
            )
        except BadImage:
            yield Dropped(Filter.IMAGE_OUTSIDE, record.source)
        except Refused as refused:
            yield Dropped(refused.reason, record.source)


def own_steps(record: JsonRecord) -> tuple[str, ...]:
    """The record's reasoning steps without empty ones; raises BadRecord if they are not a list of texts."""
    steps = record.fields.get("reasoning_steps", [])
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise BadRecord('"reasoning_steps" is not a list of texts')
    return tuple(step.strip() for step in steps if step.strip())
