"""The check before a run: opens every image, tokenises every prompt with its hints, reads every ground truth.

    load_training_data / read_questions -> preflight / preflight_questions -> report.lines(), report.skip

A run meets the same problems one by one, hours apart; here they are all listed in minutes, with file:line.
Image tokens are counted by the image processor's own arithmetic on the picture's size, so no pixels are processed.
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

from hint_grpo.data.lengths import LengthLimits
from hint_grpo.data.paths import BadImage
from hint_grpo.data.picture_processing import Pictures
from hint_grpo.data.preflight_report import PreflightReport
from hint_grpo.data.questions import Question
from hint_grpo.families import Family, family_of
from hint_grpo.hints import HintPolicy
from hint_grpo.machine.hardware import available_cores
from hint_grpo.prompts import Message, begun_turn, evaluation_messages, question_with_hint, training_messages
from hint_grpo.scoring import can_read, score

# ----------------------------------------------------------------------------------------------------
# Does a hint already hold the final answer? Then the model only has to copy it.

NUMBER = re.compile(r"(?<![\d.,])\d+(?:,\d{3})*(?:\.\d+)?(?![\d]|[.,]\d)")
MORE_THAN_A_NUMBER = re.compile(r"[\\√π/:^]")
LAYOUT = re.compile(r"[\s$]|\\[()\[\],;!]|\\(?:left|right|displaystyle)\b")


def holds_answer(hint: str, solution: str) -> bool:
    """Whether the answer stands in the hint: as a number where it is one ("65°" in "= 65.0"), else as it is written.

    An upper bound: a number that stands there for another reason ("2" in "the 2 sides") counts too.
    """
    numbers = NUMBER.findall(solution)
    if len(numbers) == 1 and not MORE_THAN_A_NUMBER.search(solution):
        return _value(numbers[0]) in map(_value, NUMBER.findall(hint))
    return bool(solution.strip()) and LAYOUT.sub("", solution) in LAYOUT.sub("", hint)


def _value(number: str) -> str:
    """One spelling for equal numbers, of any length: "065.0" and "65" are "65"."""
    whole, _, decimals = number.replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")


AT_ONCE = 256
IMAGES_REMEMBERED = 65_536


@dataclass(frozen=True, slots=True)
class Level:
    """A hint level of an item: what is sent, what the model's turn begins with, and the hint in one of them."""

    level: int
    messages: list[Message]
    begun: str
    hint: str


@dataclass(frozen=True, slots=True)
class Item:
    """What is checked of a sample or a question: its prompt without a hint (`messages`), and its hint levels."""

    source: str
    image: str | None
    gold: str
    num_steps: int
    messages: list[Message]
    levels: list[Level]


@dataclass(frozen=True, slots=True)
class TextTokens:
    """Tokens without image placeholders: of the prompt without a hint, and (prompt, begun turn) by level."""

    plain: int
    levels: dict[int, tuple[int, int]]


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
    """Checks training samples (rows of `load_training_data`); `report.skip` are the positions a run cannot use."""
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
) -> PreflightReport:
    """Checks evaluation questions; `limits.max_completion_length` is --max_new_tokens."""
    items = (_evaluation_item(question, with_image) for question in questions)
    return _check(items, PreflightReport("questions", limits, has_hints=False), processor, picture_processing, workers)


def share(num_samples: int, rank: int, num_ranks: int) -> range:
    """The positions that a rank checks; ranks have neighbouring blocks, so that the report keeps the file's order."""
    return range(num_samples * rank // num_ranks, num_samples * (rank + 1) // num_ranks)


def without_skipped(dataset: Dataset, report: PreflightReport) -> Dataset:
    """The training set without what `report` found unusable (--skip_bad)."""
    skip = set(report.skip)
    return dataset.select([index for index in range(len(dataset)) if index not in skip]) if skip else dataset


def _training_item(sample: Mapping[str, Any], policy: HintPolicy, injection: str) -> Item:
    question, steps = sample["question"], list(sample["reasoning_steps"])
    plain = training_messages(question)
    levels = []
    for hint in policy.longest_levels(steps):
        hinted, begun = plain, begun_turn(hint.text)
        if injection == "query":
            begun = begun_turn("")
            hinted = training_messages(question_with_hint(question, hint.text)) if hint.text else plain
        levels.append(Level(hint.level, hinted, begun, hint.text))
    return Item(sample["source"], sample["image"], sample["solution"], len(steps), plain, levels)


def _evaluation_item(question: Question, with_image: bool) -> Item:
    messages = evaluation_messages(question.question, with_image=with_image)
    image = question.image if with_image else None
    return Item(question.source, image, question.ground_truth, 0, messages, [Level(0, messages, "", "")])


def _check(
    items: Iterable[Item],
    report: PreflightReport,
    processor: Any,
    picture_processing: str,
    workers: int | None,
    show_progress: bool = True,
) -> PreflightReport:
    start = time.perf_counter()
    family, pictures = family_of(processor), Pictures(processor, picture_processing)
    image_tokens = lru_cache(IMAGES_REMEMBERED)(partial(_image_tokens, family=family, pictures=pictures))
    readable = lru_cache(IMAGES_REMEMBERED)(_ground_truth_problem)
    # As many threads as cores: each may hold a large picture.
    workers = workers or len(available_cores())
    disable = None if show_progress else True
    with ThreadPoolExecutor(workers) as pool, tqdm(desc="checking", unit=report.name, disable=disable) as bar:
        for batch in _batches(items):
            # Decoding releases the interpreter lock: it goes on while the texts are tokenised.
            images = pool.map(image_tokens, [item.image for item in batch])
            texts = _text_tokens(batch, family)
            for item, (placeholders, problem), tokens in zip(batch, images, texts, strict=True):
                _note(report, item, placeholders, problem, tokens, readable)
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


def _text_tokens(batch: Sequence[Item], family: Family) -> list[TextTokens | None]:
    """The tokens of each item; None where its text holds a placeholder, which would be taken for a second image."""
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
    tokens: TextTokens | None,
    ground_truth_problem: Callable[[str], str | None],
) -> None:
    """Adds one item to the report."""
    problems = [f"image: {image_problem}"] if image_problem else []
    gold_problem = ground_truth_problem(item.gold)
    if gold_problem == "text":
        report.compared_as_text.add(f"{item.source}: {item.gold[:60]}")
    elif gold_problem:
        problems.append(f"{gold_problem} ({item.gold[:60]!r})")
    if tokens is None:
        problems.append("question or hint holds an image placeholder")
    elif not image_problem:
        levels = {level: (image_tokens + prompt, begun) for level, (prompt, begun) in tokens.levels.items()}
        problems += report.note_lengths(item.source, image_tokens + tokens.plain, levels)
    leaks = {level.level: bool(level.hint) and holds_answer(level.hint, item.gold) for level in item.levels}
    report.note_item(item.source, item.num_steps, leaks, problems)
