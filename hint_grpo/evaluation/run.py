"""Runs an evaluation: questions -> decode (calibrated) -> score -> results, summary, plot.

    summaries = run_evaluation(EvaluationSettings(model_path=..., data_path=..., prompt_path=..., scales=(0.0, 0.8)))

Decoding happens in processes of its own (`pool`, `worker`), also where there is only one: this one loads no
model, owns every file, and survives them. What an earlier run left on disk is reused where it still holds (`identity`,
`store`).

A run that was interrupted, or that had other batches or more processes, ends with the same file: in float32 the tokens do
not depend on what else is in the batch, short of two logits that agree to six digits. In bfloat16 the rounding of a
matrix product does depend on the shape of the batch, on every backend, and single answers may then differ.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hint_grpo.calibration.choices import choose_backend, choose_dtype_name
from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.data.questions import Question
from hint_grpo.evaluation.identity import check_model_folder, conditions_for, file_digest, model_digest
from hint_grpo.evaluation.plot import draw_scales
from hint_grpo.evaluation.pool import ChunkSizes, Pool, Task
from hint_grpo.evaluation.presets import preset_line
from hint_grpo.evaluation.progress import Progress
from hint_grpo.evaluation.questions import usable_questions
from hint_grpo.evaluation.scale_run import ScaleRun
from hint_grpo.evaluation.seats import choose_seats, visible_gpus
from hint_grpo.evaluation.settings import EvaluationSettings
from hint_grpo.evaluation.summary import Summary, write_overview
from hint_grpo.folder_lock import only_run_in
from hint_grpo.scoring.pool import start as start_answer_checker

DIGESTS_FILE = "model_digests.json"
# The fewest questions a process is handed at a time where there are several: fewer would leave its batch half empty.
MIN_CHUNK = 16
# With several scales the most questions of a chunk: their encoded pictures should fit a decoder's cache together.
MAX_CHUNK = 256


def run_evaluation(settings: EvaluationSettings, *, show_progress: bool = True) -> list[Summary]:
    """Decodes what is not on disk yet, scores all of it, and returns one summary per scale in the order given."""
    check_model_folder(settings.model_path)
    usable = usable_questions(settings)
    print(preset_line(settings.preset, asdict(settings)), file=sys.stderr)
    output = settings.output
    with only_run_in(output):
        runs = _begin(settings, usable.questions)
        num_processes = _decode(settings, runs, usable.questions, show_progress)
        summaries = [run.finish(num_processes, usable.num_skipped) for run in runs]
        write_overview(output, summaries)
        draw_scales(summaries, output)
    return summaries


def _begin(settings: EvaluationSettings, questions: Sequence[Question]) -> list[ScaleRun]:
    """Looks up for every scale what is on disk, and tells the user."""
    decoding = _decoding(settings)
    images = {} if settings.no_image else _image_digests(questions)
    runs = []
    for scale in settings.distinct_scales:
        conditions = conditions_for(questions, images, {**decoding, "scale": scale}, with_image=not settings.no_image)
        run = ScaleRun(scale, settings, questions, conditions)
        found = run.describe()
        if found:
            print(found, file=sys.stderr)
        runs.append(run)
    return runs


def _decoding(settings: EvaluationSettings) -> dict[str, Any]:
    """The part of the cache key that all questions and scales share.

    "auto" is settled here, so that the key says what it stood for; the workers are told backend and dtype by name.
    """
    return {
        "weights": model_digest(settings.model_path, settings.output / DIGESTS_FILE),
        "backend": choose_backend(settings.backend, settings.model_path),
        "dtype": choose_dtype_name(settings.dtype, has_gpu=bool(visible_gpus())),
        "max_new_tokens": settings.max_new_tokens,
        "max_pixels": settings.max_pixels,
        "picture_processing": settings.picture_processing,
    }


def _image_digests(questions: Sequence[Question]) -> dict[str, str]:
    return {question.id: file_digest(Path(question.image)) for question in questions}


def _decode(settings: EvaluationSettings, runs: Sequence[ScaleRun], questions: Sequence[Question], shown: bool) -> int:
    """Decodes what is missing; an answer is on disk before the next one is looked at. Returns the process count."""
    tasks = _tasks(settings, runs, questions)
    if not tasks:
        return 0
    seats = choose_seats(settings.gpu_ids, settings.num_processes)[: len(tasks)]
    logs = settings.output / "worker-*.log"
    start_answer_checker()  # it is ready when the model is, so the first answers need not wait for it
    print(f"loading {settings.model_path} in {len(seats)} process(es), log: {logs}", file=sys.stderr)
    by_scale = {run.scale: run for run in runs}
    earlier = [(run.scale, result) for run in runs for result in run.results.values()]
    with (
        Pool(seats, _loading(settings, runs[0]), settings.output, _chunks(settings)) as pool,
        Progress(len(questions) * len(runs), earlier, shown=shown) as progress,
    ):
        for answered in pool.run(tasks):
            progress.add(answered.scale, by_scale[answered.scale].take(answered))
    return len(seats)


def _tasks(settings: EvaluationSettings, runs: Sequence[ScaleRun], questions: Sequence[Question]) -> list[Task]:
    """What is still to decode, in question order; all missing scales of a question go to one process together."""
    tasks = []
    for question in questions:
        scales = tuple(run.scale for run in runs if run.is_missing(question.id))
        if scales:
            image = None if settings.no_image else question.image
            tasks.append(Task(DecodeRequest(question.id, question.question, image), scales))
    return tasks


def _chunks(settings: EvaluationSettings) -> ChunkSizes:
    """Several scales are decoded chunk by chunk: a chunk's encoded pictures are then still in memory for the next."""
    return ChunkSizes(settings.batch_size or MIN_CHUNK, MAX_CHUNK if len(settings.distinct_scales) > 1 else None)


def _loading(settings: EvaluationSettings, run: ScaleRun) -> dict[str, Any]:
    """What a worker hands to `load_decoder`; backend and dtype are those that the cache key names."""
    return {
        "model_path": str(settings.model_path),
        "backend": run.conditions.decoding["backend"],
        "dtype": run.conditions.decoding["dtype"],
        "batch_size": settings.batch_size,
        "max_new_tokens": settings.max_new_tokens,
        "max_pixels": settings.max_pixels,
        "picture_processing": settings.picture_processing,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
    }
