"""The check before a run: opens every image, tokenises every prompt with its hints, reads every ground truth.

    load_training_data / read_questions -> preflight / preflight_questions -> report.lines(), report.skip

Without it a run would hit the same problems one by one, hours apart; the check lists all of them in minutes, with
file:line. Image tokens are computed from the picture's size by the image processor's arithmetic, without processing pixels.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Literal

from datasets import Dataset
from tqdm import tqdm

from hint_grpo.data.paths import BadImage
from hint_grpo.data.picture_processing import Pictures
from hint_grpo.data.preflight_report import PreflightReport
from hint_grpo.data.questions import Question
from hint_grpo.families import Family, family_of
from hint_grpo.hints import LengthLimits
from hint_grpo.machine.hardware import available_cores
from hint_grpo.policies.base import HintPolicy
from hint_grpo.prompts import Message, begun_turn, evaluation_messages, question_with_hint, training_messages
from hint_grpo.scoring import can_read, score

BATCH_SIZE = 256
CACHE_SIZE = 65_536
"""Images and ground truths whose result is kept, since several samples share one image."""

# ----------------------------------------------------------------------------------------------------
# What is checked.


@dataclass(frozen=True, slots=True)
class LevelPrompt:
    """The prompt of one hint level: the messages, how the model's turn begins, and the hint that one of them holds."""

    level: int
    messages: list[Message]
    begun: str
    hint: str


@dataclass(frozen=True, slots=True)
class Item:
    """One sample or question to check: its prompt without a hint (`messages`), and that of each hint level."""

    source: str
    image: str | None
    ground_truth: str
    num_steps: int
    messages: list[Message]
    levels: list[LevelPrompt]


def _training_item(sample: Mapping[str, Any], policy: HintPolicy, injection: str) -> Item:
    question, steps = sample["question"], list(sample["reasoning_steps"])
    plain = training_messages(question)
    levels = []
    for hint in policy.longest_levels(steps):
        # Answer injection puts the hint at the beginning of the model's turn, query injection after the question.
        hinted, begun = plain, begun_turn(hint.text)
        if injection == "query":
            begun = begun_turn("")
            hinted = training_messages(question_with_hint(question, hint.text)) if hint.text else plain
        levels.append(LevelPrompt(hint.level, hinted, begun, hint.text))
    return Item(sample["source"], sample["image"], sample["solution"], len(steps), plain, levels)


def _evaluation_item(question: Question, with_image: bool) -> Item:
    messages = evaluation_messages(question.question, with_image=with_image)
    image = question.image if with_image else None
    return Item(question.source, image, question.ground_truth, 0, messages, [LevelPrompt(0, messages, "", "")])


# ----------------------------------------------------------------------------------------------------
# The check.


def preflight(
    samples: Iterable[Mapping[str, Any]],
    *,
    processor: Any,
    policy: HintPolicy,
    limits: LengthLimits,
    injection: Literal["answer", "query"] = "answer",
    picture_processing: str = "processor",
    workers: int | None = None,
    show_progress: bool = True,
) -> PreflightReport:
    """Checks training samples (rows of `load_training_data`); `report.skip` holds the positions a run cannot use.

    `injection` is where hints go, `workers` the threads that open images (default: one per core).
    """
    items = (_training_item(sample, policy, injection) for sample in samples)
    report = PreflightReport("samples", limits, has_hints=True)
    return _check(items, report, processor, picture_processing, workers, show_progress)


def preflight_questions(
    questions: Iterable[Question],
    *,
    processor: Any,
    limits: LengthLimits,
    with_image: bool = True,
    picture_processing: str = "processor",
    workers: int | None = None,
    sizes: Mapping[str, tuple[int, int]] | None = None,
) -> PreflightReport:
    """Checks evaluation questions; `limits.max_completion_length` is the run's --max_new_tokens.

    `sizes`: (width, height) in pixels of pictures that were opened before, by path; they are not opened again.
    """
    items = (_evaluation_item(question, with_image) for question in questions)
    report = PreflightReport("questions", limits, has_hints=False)
    return _check(items, report, processor, picture_processing, workers, sizes=sizes)


def share(num_samples: int, rank: int, num_ranks: int) -> range:
    """The positions that a rank checks: contiguous blocks, so that the merged report keeps the order of the file."""
    return range(num_samples * rank // num_ranks, num_samples * (rank + 1) // num_ranks)


def without_skipped(dataset: Dataset, report: PreflightReport) -> Dataset:
    """The training set without the samples that `report` found unusable (--skip_bad)."""
    skip = set(report.skip)
    return dataset.select([index for index in range(len(dataset)) if index not in skip]) if skip else dataset


def _check(
    items: Iterable[Item],
    report: PreflightReport,
    processor: Any,
    picture_processing: str,
    workers: int | None,
    show_progress: bool = True,
    sizes: Mapping[str, tuple[int, int]] | None = None,
) -> PreflightReport:
    """Checks the items in batches: threads open the images while this thread tokenises the texts."""
    start = time.perf_counter()
    family, pictures = family_of(processor), Pictures(processor, picture_processing)
    image_tokens = lru_cache(CACHE_SIZE)(partial(_image_tokens, family=family, pictures=pictures, sizes=sizes or {}))
    ground_truth_problem = lru_cache(CACHE_SIZE)(_ground_truth_problem)
    # No more threads than cores: each may hold a large picture.
    workers = workers or len(available_cores())
    disable = None if show_progress else True
    with ThreadPoolExecutor(workers) as pool, tqdm(desc="checking", unit=report.name, disable=disable) as bar:
        for batch in _batches(items):
            # Decoding an image releases the GIL, so it runs while the texts are tokenised.
            images = pool.map(image_tokens, [item.image for item in batch])
            texts = _text_tokens(batch, family)
            for item, (placeholders, problem), tokens in zip(batch, images, texts, strict=True):
                _add_to_report(report, item, placeholders, problem, tokens, ground_truth_problem)
            bar.update(len(batch))
    report.seconds = time.perf_counter() - start
    return report


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    stream = iter(items)
    while batch := list(islice(stream, BATCH_SIZE)):
        yield batch


def _image_tokens(
    path: str | None, family: Family, pictures: Pictures, sizes: Mapping[str, tuple[int, int]]
) -> tuple[int, str | None]:
    """(image tokens, problem): opens the image and decodes it completely, unless its size is known."""
    if path is None:
        return 0, None
    try:
        return family.num_image_tokens(*pictures.resized_size(*(sizes.get(path) or pictures.open(path).size))), None
    except BadImage as error:
        return 0, str(error)


@dataclass(frozen=True, slots=True)
class TextTokens:
    """Tokens without image placeholders: of the prompt without a hint, and (prompt, begun turn) by level."""

    plain: int
    levels: dict[int, tuple[int, int]]


def _text_tokens(batch: Sequence[Item], family: Family) -> list[TextTokens | None]:
    """The tokens of each item; None if its text holds a placeholder, which would be read as a second image."""
    # One flat list for the whole batch: first the plain prompts, then the levels of all items.
    texts = [(item.messages, "") for item in batch]
    texts += [(level.messages, level.begun) for item in batch for level in item.levels]
    prompts, begun = _rendered([messages for messages, _ in texts], family), [begun for _, begun in texts]
    counts = list(
        zip(
            (prompt + start for prompt, start in zip(prompts, begun, strict=True)),
            _token_counts(prompts, family.tokenizer),
            _token_counts(begun, family.tokenizer),
            strict=True,
        )
    )
    # Back to items: (text, prompt tokens, begun tokens) of the plain prompt and of each level.
    hinted = iter(counts[len(batch) :])
    result: list[TextTokens | None] = []
    for item, plain in zip(batch, counts[: len(batch)], strict=True):
        images = int(item.image is not None)
        levels = list(islice(hinted, len(item.levels)))
        sound = all(text.count(family.processor.image_token) == images for text, _, _ in [plain, *levels])
        by_level = {
            level.level: (tokens - images, more) for level, (_, tokens, more) in zip(item.levels, levels, strict=True)
        }
        result.append(TextTokens(plain[1] - images, by_level) if sound else None)
    return result


def _rendered(conversations: list[list[Message]], family: Family) -> list[str]:
    """Each conversation as text, by the chat template; one object that occurs several times is rendered once."""
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


def _ground_truth_problem(ground_truth: str) -> str | None:
    """Why a ground truth cannot be matched, even by itself; "text" if it is compared as text; None if it is a value."""
    if score(f"<think></think><answer>{ground_truth}</answer>", ground_truth) != 1.0:
        return "ground truth that no answer can match"
    return None if can_read(ground_truth) else "text"


def _add_to_report(
    report: PreflightReport,
    item: Item,
    image_tokens: int,
    image_problem: str | None,
    tokens: TextTokens | None,
    ground_truth_problem: Callable[[str], str | None],
) -> None:
    """Adds one item's problems, lengths and leaks to the report."""
    problems = [f"image: {image_problem}"] if image_problem else []
    unreadable = ground_truth_problem(item.ground_truth)
    if unreadable == "text":
        report.compared_as_text.add(f"{item.source}: {item.ground_truth[:60]}")
    elif unreadable:
        problems.append(f"{unreadable} ({item.ground_truth[:60]!r})")
    if tokens is None:
        problems.append("question or hint holds an image placeholder")
    elif not image_problem:
        levels = {level: (image_tokens + prompt, begun) for level, (prompt, begun) in tokens.levels.items()}
        problems += report.add_lengths(item.source, image_tokens + tokens.plain, levels)
    leaks = {level.level: bool(level.hint) and holds_answer(level.hint, item.ground_truth) for level in item.levels}
    report.add_item(item.source, item.num_steps, leaks, problems)


# ----------------------------------------------------------------------------------------------------
# Leaks: hints that already hold the final answer, which the model then only has to copy.

NUMBER = re.compile(r"(?<![\d.,])\d+(?:,\d{3})*(?:\.\d+)?(?![\d]|[.,]\d)")
FORMULA_SIGN = re.compile(r"[\\√π/:^]")
LAYOUT = re.compile(r"[\s$]|\\[()\[\],;!]|\\(?:left|right|displaystyle)\b")


def holds_answer(hint: str, solution: str) -> bool:
    """Whether the hint contains the answer: a plain number by its value ("65°" in "= 65.0"), other answers as written.

    An upper bound: a number that is there for another reason ("2" in "the 2 sides") counts too.
    """
    numbers = NUMBER.findall(solution)
    if len(numbers) == 1 and not FORMULA_SIGN.search(solution):
        return _value(numbers[0]) in map(_value, NUMBER.findall(hint))
    return bool(solution.strip()) and LAYOUT.sub("", solution) in LAYOUT.sub("", hint)


def _value(number: str) -> str:
    """One spelling for equal numbers of any length: "065.0" and "65" become "65"."""
    whole, _, decimals = number.replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")
