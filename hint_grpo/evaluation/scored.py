"""Scores an answer under both protocols, and scores a stored one again."""

from dataclasses import replace

from hint_grpo.data.questions import Question
from hint_grpo.evaluation.results import Answer, Result
from hint_grpo.scoring import extract_answer, score


def scored(question: Question, given: Answer) -> Result:
    return Result(
        id=question.id,
        image_path=question.image_path,
        question=question.question,
        ground_truth=question.ground_truth,
        completion=given.completion,
        answer=extract_answer(given.completion),
        correct_paper=is_correct(given.completion, question.ground_truth, "paper"),
        correct_strict=is_correct(given.completion, question.ground_truth, "strict"),
        num_tokens=given.num_tokens,
        finish_reason=given.finish_reason,
    )


def scored_again(result: Result) -> Result:
    """The stored completion against the stored ground truth, by today's checker."""
    return replace(
        result,
        answer=extract_answer(result.completion),
        correct_paper=is_correct(result.completion, result.ground_truth, "paper"),
        correct_strict=is_correct(result.completion, result.ground_truth, "strict"),
    )


def is_correct(completion: str, gold: str, protocol: str) -> bool:
    return score(completion, gold, protocol) == 1.0
