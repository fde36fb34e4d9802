"""The check before a run: opens every image, tokenises every prompt with its hints, reads every ground truth.

    load_training_data / read_questions -> preflight / preflight_questions -> report.lines(), report.skip

A run meets the same problems one by one, hours apart; here they are all listed in minutes, with file:line.
Image tokens are counted by the image processor's own arithmetic on the picture's size, so no pixels are processed.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Literal

from datasets import Dataset
from tqdm import tqdm

from hint_grpo.data.leak import holds_answer
from hint_grpo.data.lengths import LengthLimits
from hint_grpo.data.paths import BadImage
from hint_grpo.data.pictures import Pictures
from hint_grpo.data.preflight_report import PreflightReport
from hint_grpo.data.questions import Question
from hint_grpo.families import Family, family_of
from hint_grpo.hints import HintPolicy, hint_prefix
from hint_grpo.machine import available_cores
from hint_grpo.prompts import Message, begun_turn, evaluation_messages, question_with_hint, training_messages
from hint_grpo.scoring import can_read, score

AT_ONCE = 256
IMAGES_REMEMBERED = 65_536


@dataclass(frozen=True, slots=True)
class Item:
    """What is checked of a sample or a question; `levels` holds (messages, begun turn, hint) of each hint level."""

    source: str
    image: str | None
    gold: str
    num_steps: int
    levels: list[tuple[list[Message], str, str]]


def preflight(
    samples: Iterable[Mapping[str, Any]],
    *,
    processor: Any,
    policy: HintPolicy,
    limits: LengthLimits,
    injection: Literal["answer", "query"] = "answer",
    picture_processing: str = "processor",
    workers: int | None = None,
) -> PreflightReport:
    """Checks training samples (rows of `load_training_data`); `report.skip` are the positions a run cannot use."""
    items = (_training_item(sample, policy, injection) for sample in samples)
    return _check(items, PreflightReport("samples", limits, has_hints=True), processor, picture_processing, workers)


def preflight_questions(
    questions: Iterable[Question],
    *,
    processor: Any,
    limits: LengthLimits,
    with_image: bool = True,
    picture_processing: str = "processor",
    workers: int | None = None,
) -> PreflightReport:
    """Checks evaluation questions; `limits.max_completion_length` is --max_new_tokens."""
    items = (_evaluation_item(question, with_image) for question in questions)
    return _check(items, PreflightReport("questions", limits, has_hints=False), processor, picture_processing, workers)


def without_skipped(dataset: Dataset, report: PreflightReport) -> Dataset:
    """The training set without what `report` found unusable (--skip_bad)."""
    skip = set(report.skip)
    return dataset.select([index for index in range(len(dataset)) if index not in skip]) if skip else dataset


def hint_texts(steps: Sequence[str], policy: HintPolicy) -> list[str]:
    """The hint of every level; for a ratio drawn anew each time, the longest that can be drawn."""
    if policy.kind == "adaptive":
        return [hint_prefix(steps, policy.count(len(steps), level)) for level in range(policy.num_levels)]
    if policy.kind == "random":
        policy = HintPolicy("fixed", 1, 0.999999)
    return [level.text for level in policy.levels(steps, key="")]


def _training_item(sample: Mapping[str, Any], policy: HintPolicy, injection: str) -> Item:
    question, steps = sample["question"], list(sample["reasoning_steps"])
    hints = hint_texts(steps, policy)
    if injection == "query":
        levels = [(training_messages(question_with_hint(question, hint)), begun_turn(""), hint) for hint in hints]
    else:
        messages = training_messages(question)
        levels = [(messages, begun_turn(hint), hint) for hint in hints]
    return Item(sample["source"], sample["image"], sample["solution"], len(steps), levels)


def _evaluation_item(question: Question, with_image: bool) -> Item:
    messages = evaluation_messages(question.question, with_image=with_image)
    image = question.image if with_image else None
    return Item(question.source, image, question.ground_truth, 0, [(messages, "", "")])


def _check(
    items: Iterable[Item], report: PreflightReport, processor: Any, picture_processing: str, workers: int | None
) -> PreflightReport:
    start = time.perf_counter()
    family, pictures = family_of(processor), Pictures(processor, picture_processing)
    image_tokens = lru_cache(IMAGES_REMEMBERED)(partial(_image_tokens, family=family, pictures=pictures))
    readable = lru_cache(IMAGES_REMEMBERED)(_ground_truth_problem)
    # As many threads as cores: each may hold a large picture.
    workers = workers or len(available_cores())
    with ThreadPoolExecutor(workers) as pool, tqdm(desc="checking", unit=report.name, disable=None) as bar:
        for batch in _batches(items):
            # Decoding releases the interpreter lock: it goes on while the texts are tokenised.
            images = pool.map(image_tokens, [item.image for item in batch])
            texts = _text_tokens(batch, family)
            for item, (tokens, problem), lengths in zip(batch, images, texts, strict=True):
                _note(report, item, tokens, problem, lengths, readable)
            bar.update(len(batch))
    report.seconds = time.perf_counter() - start
    return report


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    stream = iter(items)
    while batch := list(islice(stream, AT_ONCE)):
        yield batch


def _image_tokens(path: str | None, family: Family, pictures: Pictures) -> tuple[int, str | None]:
    """(placeholders, what is wrong): opens the image and decodes it whole."""
    if path is None:
        return 0, None
    try:
        return family.num_image_tokens(*pictures.resized_size(*pictures.open(path).size)), None
    except BadImage as error:
        return 0, str(error)


def _text_tokens(batch: Sequence[Item], family: Family) -> list[list[tuple[int, int]] | None]:
    """For each item (tokens of the prompt's text without placeholders, tokens of the begun turn) of each level.

    None where the text holds a placeholder of its own, which would be taken for a second image.
    """
    conversations = [messages for item in batch for messages, _, _ in item.levels]
    prompts = _rendered(conversations, family)
    begun = [begun for item in batch for _, begun, _ in item.levels]
    prompt_tokens = _token_counts(prompts, family.tokenizer)
    begun_tokens = _token_counts(begun, family.tokenizer)
    counts = iter(zip(prompts, begun, prompt_tokens, begun_tokens, strict=True))
    result: list[list[tuple[int, int]] | None] = []
    for item in batch:
        images = int(item.image is not None)
        levels = list(islice(counts, len(item.levels)))
        sound = all((prompt + begun).count(family.processor.image_token) == images for prompt, begun, _, _ in levels)
        result.append([(tokens - images, more) for _, _, tokens, more in levels] if sound else None)
    return result


def _rendered(conversations: list[list[Message]], family: Family) -> list[str]:
    """Each conversation in the chat template's form; one that stands there several times is rendered once."""
    different = {id(messages): messages for messages in conversations}
    forms = [family.messages(messages) for messages in different.values()]
    texts = family.processor.apply_chat_template(forms, tokenize=False, add_generation_prompt=True)
    by_id = dict(zip(different, texts, strict=True))
    return [by_id[id(messages)] for messages in conversations]


def _token_counts(texts: list[str], tokenizer: Any) -> list[int]:
    """Tokens of each text; equal texts are tokenised once."""
    different = list(dict.fromkeys(texts))
    ids = tokenizer(different, add_special_tokens=False)["input_ids"]
    counts = {text: len(ids_T) for text, ids_T in zip(different, ids, strict=True)}
    return [counts[text] for text in texts]


def _ground_truth_problem(gold: str) -> str | None:
    """What the checker cannot do with a ground truth: match it with itself, or read it as a value."""
    if score(f"<think></think><answer>{gold}</answer>", gold) != 1.0:
        return "ground truth that no answer can match"
    return None if can_read(gold) else "text"


def _note(
    report: PreflightReport,
    item: Item,
    image_tokens: int,
    image_problem: str | None,
    lengths: list[tuple[int, int]] | None,
    ground_truth_problem: Callable[[str], str | None],
) -> None:
    """Adds one item to the report."""
    problems = [f"image: {image_problem}"] if image_problem else []
    gold_problem = ground_truth_problem(item.gold)
    if gold_problem == "text":
        report.compared_as_text.add(f"{item.source}: {item.gold[:60]}")
    elif gold_problem:
        problems.append(f"{gold_problem} ({item.gold[:60]!r})")
    if lengths is None:
        problems.append("question or hint holds an image placeholder")
    elif not image_problem:
        problems += report.note_lengths(item.source, [(image_tokens + text, begun) for text, begun in lengths])
    leaks = [bool(hint) and holds_answer(hint, item.gold) for _, _, hint in item.levels]
    report.note_item(item.source, item.num_steps, leaks, problems)
