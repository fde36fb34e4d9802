"""A user's own records to samples.

    {"image": "pictures/7.png", "question": "How many discs?", "solution": 4,
     "reasoning_steps": ["Row 1 has 1.", "Row 2 has 3."]}

`id` is optional, `reasoning_steps` may be missing or empty (such a sample never gets a hint), the image path is
relative to the data folder. A letter as solution becomes its option's text, as in LLaVA-CoT.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from hint_grpo.data.fill_in import clean_question, fill_in, one_image, refuse_special_tokens
from hint_grpo.data.jsonl import BadRecord, Row, UniqueIds, text_field
from hint_grpo.data.paths import BadImage, ImageRoot
from hint_grpo.data.samples import Dropped, Filter, Refused, Sample


@dataclass(frozen=True)
class OwnReader:
    """Turns rows into samples and drops; a record that is not of the schema raises BadRecord."""

    root: ImageRoot
    ids: UniqueIds
    keep_multiple_choice: bool

    def __call__(self, row: Row) -> Iterator[Sample | Dropped]:
        question = clean_question(text_field(row.record, "question"))
        solution = text_field(row.record, "solution").strip()
        steps = own_steps(row)
        if not question or not solution:
            raise BadRecord('"question" or "solution" is empty')
        try:
            image = text_field({"image": one_image(row.record.get("image"))}, "image")
            refuse_special_tokens(question, solution, *steps)
            question, value = fill_in(question, solution, keep_multiple_choice=self.keep_multiple_choice)
            yield Sample(
                id=self.ids.claim(str(row.record.get("id") or row.source), row.source),
                image=self.root.absolute(image),
                question=question,
                solution=solution if value is None else value,
                reasoning_steps=steps,
                source=row.source,
            )
        except BadImage:
            yield Dropped(Filter.IMAGE_OUTSIDE, row.source)
        except Refused as refused:
            yield Dropped(refused.reason, row.source)


def own_steps(row: Row) -> tuple[str, ...]:
    """The record's steps without empty ones; raises BadRecord where they are not a list of texts."""
    steps = row.record.get("reasoning_steps", [])
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise BadRecord('"reasoning_steps" is not a list of texts')
    return tuple(step.strip() for step in steps if step.strip())
