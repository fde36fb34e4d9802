"""Whether an answer is right, by what its question asks for: a value, an option's letter, or yes or no.

Each in two protocols. `strict` looks at the last closed `<answer>` alone. `paper` looks at the whole completion: for a
value it is the paper's own (`hint_grpo.scoring`); the paper does not say how choices were judged, so for those it is this
project's counterpart: an answer that is stated outside the tags counts too.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from hint_grpo.data.questions import Judging, Question
from hint_grpo.evaluation.results import Answer, Result
from hint_grpo.evaluation.settings import PROTOCOLS
from hint_grpo.machine.files import replace_file
from hint_grpo.scoring import extract_answer, score
from hint_grpo.scoring.choices import last_yes_or_no, letters_given, letters_led_to, yes_or_no
from hint_grpo.scoring.option_letters import is_option, texts_by_letter
from hint_grpo.scoring.single_value import MAX_CHARACTERS, read_single_value

_TAG = re.compile(r"</?(?:think|answer)\s*>", re.IGNORECASE)
_BRACKETED = re.compile(r"\(([A-Z])\)")
_ANSWER_IS = re.compile(r"^.*\banswer\s*(?:is|:)\s*", re.IGNORECASE)


def is_right(completion: str, gold: str, judging: Judging, protocol: str) -> bool:
    """`gold` is a value, the right option's letter, "yes" or "no". What is judged elsewhere is never right here."""
    if judging.judge == "choice":
        return _chosen(completion, judging.options, protocol) == gold
    if judging.judge == "yes_no":
        return _yes_or_no(completion, protocol) == gold
    if judging.judge == "none":
        return False
    return score(completion, gold, protocol) == 1.0 or _rounds_to(completion, gold, judging.precision)


def option_named(text: str, options: tuple[str, ...]) -> str | None:
    """The letter that a short answer gives: "B", "(B)", "B. 65°", "The answer is B", or an option's text ("65°").

    A letter counts before a text: "B. 65°" is B where 65° stands at C. Of several letters none counts, unless they are
    the words of an option ("both A and B").
    """
    letters = letters_given(text[:MAX_CHARACTERS])
    if len(letters) == 1 and is_option(letters[0], len(options)):
        return letters[0]
    return _option_with_words(text, options) or (None if len(letters) > 1 else _option_with_value(text, options))


def _chosen(completion: str, options: tuple[str, ...], protocol: str) -> str | None:
    answer = extract_answer(completion)
    named = option_named(answer, options) if answer else None
    if named or protocol == "strict":
        return named
    lines = [line for line in _TAG.sub("\n", completion).splitlines() if line.strip()]
    if lines and (named := option_named(lines[-1], options)):
        return named
    for said in (letters_led_to(completion), _BRACKETED.findall(completion)):
        if existing := [letter for letter in said if is_option(letter, len(options))]:
            return existing[-1]
    return None


def _option_with_words(text: str, options: tuple[str, ...]) -> str | None:
    """The letter of the one option whose text the answer is, alone or behind its letter ("D tokyo")."""
    texts = texts_by_letter(options)
    said = {tuple(_words(text)), tuple(_words(_ANSWER_IS.sub("", text[:MAX_CHARACTERS])))}
    found = _only(
        letter
        for letter, option in texts.items()
        if said & {tuple(_words(option)), (letter.casefold(), *_words(option))}
    )
    if found is None and {*map(str.casefold, texts.values())} == {"yes", "no"}:
        found = _only(letter for letter, option in texts.items() if option.casefold() == yes_or_no(text))
    return found


def _option_with_value(text: str, options: tuple[str, ...]) -> str | None:
    answer = f"<answer>{text}</answer>"
    return _only(letter for letter, option in texts_by_letter(options).items() if score(answer, option) == 1.0)


def _words(text: str) -> list[str]:
    return text.casefold().strip(" .,;:!\n\t").split()


def _only(letters: Iterable[str]) -> str | None:
    found = list(letters)
    return found[0] if len(found) == 1 else None


def _yes_or_no(completion: str, protocol: str) -> str | None:
    said = yes_or_no(extract_answer(completion) or "")
    return said if said or protocol == "strict" else last_yes_or_no(completion)


def _rounds_to(completion: str, gold: str, precision: int | None) -> bool:
    """Whether the answer, a plain number, rounds to the ground truth at `precision` decimals (a tie: either way)."""
    answer = extract_answer(completion) if precision is not None else None
    if answer is None or precision is None:
        return False
    said, wanted = read_single_value(answer), read_single_value(gold)
    if said is None or wanted is None or said.value.number is None or wanted.value.number is None:
        return False
    return abs(said.value.number - wanted.value.number) <= Fraction(1, 2 * 10**precision)


# ----------------------------------------------------------------------------------------------------
# Judges an answer under both protocols, and judges a stored one again.


def scored(question: Question, given: Answer, protocol: str = PROTOCOLS[0]) -> Result:
    """`protocol` is that of `correct_paper`."""
    return Result(
        id=question.id,
        image_path=question.image_path,
        question=question.question,
        ground_truth=question.ground_truth,
        completion=given.completion,
        answer=extract_answer(given.completion),
        correct_paper=is_right(given.completion, question.ground_truth, question.judging, protocol),
        correct_strict=is_right(given.completion, question.ground_truth, question.judging, "strict"),
        num_tokens=given.num_tokens,
        finish_reason=given.finish_reason,
        judging=question.judging,
    )


def scored_again(result: Result, protocol: str = PROTOCOLS[0]) -> Result:
    """The stored completion against the stored ground truth, as the stored line says it is judged, by today's checker."""
    return replace(
        result,
        answer=extract_answer(result.completion),
        correct_paper=is_right(result.completion, result.ground_truth, result.judging, protocol),
        correct_strict=is_right(result.completion, result.ground_truth, result.judging, "strict"),
    )


# ----------------------------------------------------------------------------------------------------
# completions.json: {"v1_0": completion, ...}, what the official evaluator of a benchmark that is not judged here takes.
#
# That is MM-Vet, whose evaluator has GPT-4 grade every completion. Written whole, thinking included, as the model gave it.

COMPLETIONS_FILE = "completions.json"


def write_completions(folder: Path, results: Sequence[Result]) -> None:
    """Writes the file beside results.jsonl where the answers are left to another's evaluator."""
    given = {result.id: result.completion for result in results if result.judging.judge == "none"}
    if given:
        replace_file(folder / COMPLETIONS_FILE, json.dumps(given, ensure_ascii=False, indent=1) + "\n")
