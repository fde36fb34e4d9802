"""`test_model.py --check_data`: every row, picture, prompt length and ground truth, looked at before a run."""

import hint_grpo.stack  # noqa: F401

from collections.abc import Sequence

from transformers import AutoConfig

from hint_grpo.calibration.choices import model_directory
from hint_grpo.calibration.load import load_processor
from hint_grpo.data.lengths import LengthLimits
from hint_grpo.data.preflight import preflight_questions
from hint_grpo.data.preflight_report import PreflightReport
from hint_grpo.data.questions import Question
from hint_grpo.evaluation.questions import find_questions
from hint_grpo.evaluation.settings import EvaluationSettings


def check_data(settings: EvaluationSettings) -> int:
    """Prints what was found; exit code 1 where a run would have to leave something out, 0 then with --skip_bad."""
    found = find_questions(settings)
    print(f"{settings.questions_name}: {len(found.questions):,} questions")
    for reason, count in found.left_out.items():
        print(f"  left out, {reason}: {count:,}")
    print(f"  rows and pictures that cannot be used: {found.num_bad:,}")
    for line in found.bad_lines():
        print(line)
    report = preflight_report(settings, found.questions)
    print("\n".join(report.lines()))
    return 0 if settings.skip_bad or (report.ok and not found.num_bad) else 1


def preflight_report(settings: EvaluationSettings, questions: Sequence[Question]) -> PreflightReport:
    """Prompt lengths by the model's own processor, and ground truths that no answer could match."""
    path = model_directory(settings.model_path)
    config = AutoConfig.from_pretrained(path)
    limits = LengthLimits(None, settings.max_new_tokens, config.get_text_config().max_position_embeddings)
    processor = load_processor(path, settings.max_pixels, trust_remote_code=False)
    return preflight_questions(
        questions,
        processor=processor,
        limits=limits,
        with_image=not settings.no_image,
        picture_processing=settings.picture_processing,
    )
