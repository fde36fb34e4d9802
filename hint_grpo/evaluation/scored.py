"""Judges an answer under both protocols, and judges a stored one again."""

from dataclasses import replace

from hint_grpo.data.questions import Question
from hint_grpo.evaluation.judging import is_right
from hint_grpo.evaluation.presets import PROTOCOLS
from hint_grpo.evaluation.results import Answer, Result
from hint_grpo.scoring import extract_answer


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
