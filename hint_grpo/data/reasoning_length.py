"""Drops samples whose reasoning has 512 tokens or more, by the model's own tokenizer.

Tokenising is the slow part of loading, so it is done for a batch at a time, and only where it can matter: a byte-level
tokenizer never makes more tokens than the text has bytes (after Unicode normalisation, which may triple them).
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from hint_grpo.data.filters import Dropped, Filter
from hint_grpo.data.sample import Sample

BATCH = 1000
CERTAINLY_TOO_LONG = 100
"""Characters per allowed token beyond which nothing needs counting (prose has 3 to 5)."""


def without_long_reasoning(
    questions: Iterable[Sample | Dropped], tokenizer: Any, max_reasoning_tokens: int
) -> Iterator[Sample | Dropped]:
    """The same stream, in order, with samples of too long a reasoning turned into drops."""
    stream = iter(questions)
    while batch := list(islice(stream, BATCH)):
        long = _too_long(
            [question for question in batch if isinstance(question, Sample)], tokenizer, max_reasoning_tokens
        )
        for question in batch:
            if isinstance(question, Sample) and question.id in long:
                yield Dropped(Filter.REASONING_TOO_LONG, question.source)
            else:
                yield question


def _too_long(samples: list[Sample], tokenizer: Any, limit: int) -> set[str]:
    """The ids of the samples whose reasoning has `limit` tokens or more."""
    texts = {sample.id: " ".join(sample.reasoning_steps) for sample in samples}
    long = {name for name, text in texts.items() if len(text) > CERTAINLY_TOO_LONG * limit}
    asked = [name for name, text in texts.items() if name not in long and _may_reach(text, limit)]
    if asked:
        tokens = tokenizer([texts[name] for name in asked], add_special_tokens=False)["input_ids"]
        long.update(name for name, ids in zip(asked, tokens, strict=True) if len(ids) >= limit)
    return long


def _may_reach(text: str, num_tokens: int) -> bool:
    return len(text) >= num_tokens if text.isascii() else 3 * len(text.encode()) >= num_tokens
