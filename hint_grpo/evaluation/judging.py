"""Judges an answer by the kind of its question: a value, an option's letter, or yes or no.

A completion that was decoded goes through `judge_answer`, a stored one through `judge_again`; both give a Result. Whether a
value equals the ground truth is decided by the answer checker (hint_grpo.scoring.score); this module adds the kinds of
questions that the checker does not know, and one rule about rounding.

Every answer is judged in two protocols. `strict` reads the last closed `<answer>` only. `paper` reads the whole completion:
for a value it is the paper's own protocol (hint_grpo.scoring). The paper does not describe how choices were judged, so for
those it is this project's counterpart: an answer that is stated outside the tags counts too.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from hint_grpo.data.questions import Judging, Question
from hint_grpo.evaluation.results import Answer, Result
from hint_grpo.evaluation.settings import ACCURACY_PROTOCOLS
from hint_grpo.machine.files import replace_file
from hint_grpo.plugins import is_reference
from hint_grpo.prompts import THINK_OPEN
from hint_grpo.scoring import extract_answer, score
from hint_grpo.scoring.choices import last_yes_or_no, letters_given, letters_led_to, yes_or_no
from hint_grpo.scoring.plugged import plugged_scorer, right_completion, try_scorer
from hint_grpo.scoring.single_value import MAX_CHARACTERS, read_single_value
from hint_grpo.scoring.vocabulary import UP_TO_ANSWER_IS, is_option, texts_by_letter

COMPLETIONS_FILE = "completions.json"

_TAG = re.compile(r"</?(?:think|answer)\s*>", re.IGNORECASE)
_BRACKETED = re.compile(r"\(([A-Z])\)")

# ----------------------------------------------------------------------------------------------------
# From an answer to a Result


def judge_answer(question: Question, given: Answer, protocol: str = ACCURACY_PROTOCOLS[0]) -> Result:
    """The result of a decoded answer under both protocols; `protocol` is the one used for `correct_paper`."""
    return Result(
        id=question.id,
        image_path=question.image_path,
        question=question.question,
        ground_truth=question.ground_truth,
        completion=given.completion,
        answer=extract_answer(given.completion),
        correct_paper=is_judged_correct(given.completion, question.ground_truth, question.judging, protocol),
        correct_strict=is_judged_correct(given.completion, question.ground_truth, question.judging, "strict"),
        num_tokens=given.num_tokens,
        finish_reason=given.finish_reason,
        judging=question.judging,
    )


def judge_again(result: Result, protocol: str = ACCURACY_PROTOCOLS[0]) -> Result:
    """A stored result with today's verdicts. Completion, ground truth and judging are those of the stored line."""
    return replace(
        result,
        answer=extract_answer(result.completion),
        correct_paper=is_judged_correct(result.completion, result.ground_truth, result.judging, protocol),
        correct_strict=is_judged_correct(result.completion, result.ground_truth, result.judging, "strict"),
    )


def try_protocol(protocol: str, question: Question) -> None:
    """Judges a made-up answer by the user's own scorer, if `protocol` names one. Raises UserError if that fails."""
    if _has_own_scorer(protocol, question.judging):
        gold = question.ground_truth
        try_scorer(protocol, f"{THINK_OPEN}{right_completion(gold)}", gold)


def is_judged_correct(completion: str, gold: str, judging: Judging, protocol: str) -> bool:
    """Whether a completion answers its question correctly, by the kind of question.

    `gold` is a value, the correct option's letter, "yes" or "no". False for the kind "none", which is judged elsewhere. If
    `protocol` is a path to a scorer, that decides for every kind: 1 or more is correct.
    """
    if _has_own_scorer(protocol, judging):
        return plugged_scorer(protocol)(completion, gold) >= 1
    if judging.judge == "choice":
        return _chosen_letter(completion, judging.options, protocol) == gold
    if judging.judge == "yes_no":
        return _yes_or_no(completion, protocol) == gold
    if judging.judge == "none":
        return False
    return score(completion, gold, protocol) == 1.0 or _rounds_to(completion, gold, judging.precision)


# ----------------------------------------------------------------------------------------------------
# Multiple choice: the letter that an answer names


def letter_of(text: str, options: tuple[str, ...]) -> str | None:
    """The letter that a short answer names: "B", "(B)", "B. 65°", "The answer is B", or an option's text ("65°"); else None.

    A letter has priority over a text: "B. 65°" is B even if option C is 65°. Several letters name none, unless they are the
    words of an option ("both A and B").
    """
    letters = letters_given(text[:MAX_CHARACTERS])
    if len(letters) == 1 and is_option(letters[0], len(options)):
        return letters[0]
    return _option_with_words(text, options) or (None if len(letters) > 1 else _option_with_value(text, options))


def _has_own_scorer(protocol: str, judging: Judging) -> bool:
    """Whether the user's own scorer judges this kind of question: every kind but those that are judged elsewhere."""
    return is_reference(protocol) and judging.judge != "none"


def _chosen_letter(completion: str, options: tuple[str, ...], protocol: str) -> str | None:
    """The letter that a completion chooses. `paper`, unlike `strict`, also reads outside the last closed <answer>."""
    answer = extract_answer(completion)
    named = letter_of(answer, options) if answer else None
    if named or protocol == "strict":
        return named
    # Outside the tags: the last line, then "the answer is B", then "(B)"; of several, the last.
    lines = [line for line in _TAG.sub("\n", completion).splitlines() if line.strip()]
    if lines and (named := letter_of(lines[-1], options)):
        return named
    for letters in (letters_led_to(completion), _BRACKETED.findall(completion)):
        if existing := [letter for letter in letters if is_option(letter, len(options))]:
            return existing[-1]
    return None


def _option_with_words(text: str, options: tuple[str, ...]) -> str | None:
    """The letter of the only option whose text is the answer, alone or after its letter ("D tokyo"); else None."""
    texts = texts_by_letter(options)
    answers = {tuple(_words(text)), tuple(_words(UP_TO_ANSWER_IS.sub("", text[:MAX_CHARACTERS])))}
    found = _only(
        letter
        for letter, option in texts.items()
        if answers & {tuple(_words(option)), (letter.casefold(), *_words(option))}
    )
    if found is None and {*map(str.casefold, texts.values())} == {"yes", "no"}:
        found = _only(letter for letter, option in texts.items() if option.casefold() == yes_or_no(text))
    return found


def _option_with_value(text: str, options: tuple[str, ...]) -> str | None:
    """The letter of the only option whose value equals the answer's, by the answer checker; else None."""
    answer = f"<answer>{text}</answer>"
    return _only(letter for letter, option in texts_by_letter(options).items() if score(answer, option) == 1.0)


def _words(text: str) -> list[str]:
    return text.casefold().strip(" .,;:!\n\t").split()


def _only(letters: Iterable[str]) -> str | None:
    """The letter if there is exactly one."""
    found = list(letters)
    return found[0] if len(found) == 1 else None


# ----------------------------------------------------------------------------------------------------
# Yes or no, and rounding


def _yes_or_no(completion: str, protocol: str) -> str | None:
    """ "yes", "no" or None. `paper`, unlike `strict`, also reads outside the last closed <answer>: the last yes or no."""
    stated = yes_or_no(extract_answer(completion) or "")
    return stated if stated or protocol == "strict" else last_yes_or_no(completion)


def _rounds_to(completion: str, gold: str, precision: int | None) -> bool:
    """Whether the answer, a plain number, rounds to the ground truth at `precision` decimals (a tie: either way)."""
    answer = extract_answer(completion) if precision is not None else None
    if answer is None or precision is None:
        return False
    stated, expected = read_single_value(answer), read_single_value(gold)
    if stated is None or expected is None or stated.value.number is None or expected.value.number is None:
        return False
    return abs(stated.value.number - expected.value.number) <= Fraction(1, 2 * 10**precision)


# ----------------------------------------------------------------------------------------------------
# completions.json: {"v1_0": completion, ...}, for the official evaluator of a data set that is not judged here
#
# That is MM-Vet, whose evaluator has GPT-4 grade every completion. Completions are written in full, thinking included.


def write_completions(folder: Path, results: Sequence[Result]) -> None:
    """Writes the file beside results.jsonl if there are answers that another evaluator judges."""
    given = {result.id: result.completion for result in results if result.judging.judge == "none"}
    if given:
        replace_file(folder / COMPLETIONS_FILE, json.dumps(given, ensure_ascii=False, indent=1) + "\n")
