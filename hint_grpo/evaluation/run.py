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
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hint_grpo.calibration.decoder import DecodeRequest, choose_backend, choose_dtype_name
from hint_grpo.data.questions import Question
from hint_grpo.evaluation.judging import scored, write_completions
from hint_grpo.evaluation.pool import Answered, ChunkSizes, Pool, Task, choose_slots, visible_gpus
from hint_grpo.evaluation.questions import usable_questions
from hint_grpo.evaluation.report import draw_scales
from hint_grpo.evaluation.results import Result
from hint_grpo.evaluation.settings import EvaluationSettings, preset_line
from hint_grpo.evaluation.store import (
    SET_ASIDE_FILE,
    Conditions,
    ResultStore,
    conditions_for,
    file_digest,
    model_digest,
)
from hint_grpo.evaluation.summary import (
    Summary,
    installed_versions,
    read_summary,
    summarise,
    write_overview,
    write_summary,
)
from hint_grpo.hub import check_model_files
from hint_grpo.machine.files import only_run_in
from hint_grpo.scoring.pool import start as start_answer_checker

# ----------------------------------------------------------------------------------------------------
# One scale of a run: which of its answers are there, what is still to do, and its summary at the end.


class ScaleRun:
    """Holds a scale's results in memory and, through its store, on disk."""

    def __init__(
        self, scale: float, settings: EvaluationSettings, questions: Sequence[Question], conditions: Conditions
    ) -> None:
        self.scale, self.settings, self.conditions = scale, settings, conditions
        self.questions = {question.id: question for question in questions}
        self.store = ResultStore(settings.scale_folder(scale))
        # Earlier answers are scored against today's ground truths: those are no part of what an answer depends on.
        earlier = self.store.begin(conditions)
        self.results: dict[str, Result] = {
            id: scored(self.questions[id], answer, settings.protocol) for id, answer in earlier.items()
        }
        self.store.start(self.results)
        self._num_earlier, self._new_tokens, self._seconds = len(earlier), 0, 0.0

    def describe(self) -> str | None:
        """What was found of an earlier run, for the user; None where there was nothing."""
        name, total = self.store.folder.name, len(self.questions)
        lines = []
        if self.store.changes:
            lines.append(
                f"{name}: the earlier run here was made with other {', '.join(self.store.changes)}; "
                f"its answers are set aside ({SET_ASIDE_FILE}), those that still hold are used"
            )
        if self._num_earlier:
            lines.append(
                f"{name}: {self._num_earlier} of {total} answers are there already, {total - self._num_earlier} to go"
            )
        return "\n".join(lines) or None

    def is_missing(self, id: str) -> bool:
        return id not in self.results

    def take(self, answered: Answered) -> Result:
        """Scores an answer and puts it on disk."""
        result = scored(self.questions[answered.id], answered.answer, self.settings.protocol)
        self.store.append(result)
        self.results[result.id] = result
        self._new_tokens += result.num_tokens
        self._seconds += answered.seconds
        return result

    def finish(self, num_processes: int, num_skipped: int) -> Summary:
        """Writes the final results.jsonl and summary.json (and completions.json where another judges the answers)."""
        results = [self.results[id] for id in self.questions]
        self.store.finish(results)
        write_completions(self.store.folder, results)
        summary = summarise(
            results,
            name=self.store.folder.name,
            scale=self.scale,
            no_image=self.settings.no_image,
            num_skipped=num_skipped,
            tokens_per_second=self._tokens_per_second(num_processes),
            decoding=self.conditions.decoding,
            made_with={
                "model_path": str(self.settings.model_path),
                "prompt_path": None if self.settings.prompt_path is None else str(self.settings.prompt_path),
                "benchmark": self.settings.benchmark,
                "data_path": None if self.settings.data_path is None else str(self.settings.data_path),
                "preset": self.settings.preset,
                "protocol": self.settings.protocol,
                "versions": installed_versions(),
            },
        )
        write_summary(self.store.folder, summary)
        return summary

    def _tokens_per_second(self, num_processes: int) -> float | None:
        """Of all processes together, loading left out. Nothing decoded now: the speed of the run that did it."""
        if self._seconds:
            return self._new_tokens / (self._seconds / num_processes)
        before = read_summary(self.store.folder)
        return before.get("tokens_per_second") if before.get("decoding") == self.conditions.decoding else None


# ----------------------------------------------------------------------------------------------------
# The progress bar: answers so far, and the running accuracy (paper protocol) of each scale.


class Progress:
    """A bar on stderr over all answers of a run; those of an earlier run count as done from the start."""

    def __init__(self, total: int, earlier: Iterable[tuple[float, Result]], *, shown: bool) -> None:
        self._correct: dict[float, int] = {}
        self._answered: dict[float, int] = {}
        self._judged = True
        for scale, result in earlier:
            self._count(scale, result)
        done = sum(self._answered.values())
        self._bar = tqdm(total=total, initial=done, unit="answer", disable=not shown, dynamic_ncols=True)
        self._show()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, scale: float, result: Result) -> None:
        self._count(scale, result)
        self._show()
        self._bar.update()

    def running_accuracy(self) -> str:
        """ "45.62%" for one scale, "0.0: 45.62% 0.8: 46.68%" for several."""
        shares = {scale: self._correct[scale] / count for scale, count in sorted(self._answered.items())}
        if len(shares) == 1:
            return "".join(f"{share:.2%}" for share in shares.values())
        return " ".join(f"{scale}: {share:.2%}" for scale, share in shares.items())

    def _count(self, scale: float, result: Result) -> None:
        self._judged = self._judged and result.judging.judge != "none"
        self._answered[scale] = self._answered.get(scale, 0) + 1
        self._correct[scale] = self._correct.get(scale, 0) + result.correct_paper

    def _show(self) -> None:
        if self._answered and self._judged:
            self._bar.set_postfix_str(f"accuracy {self.running_accuracy()}", refresh=False)


DIGESTS_FILE = "model_digests.json"
# The fewest questions a process is handed at a time where there are several: fewer would leave its batch half empty.
MIN_CHUNK = 16
# With several scales the most questions of a chunk: their encoded pictures should fit a decoder's cache together.
MAX_CHUNK = 256


def run_evaluation(settings: EvaluationSettings, *, show_progress: bool = True) -> list[Summary]:
    """Decodes what is not on disk yet, scores all of it, and returns one summary per scale in the order given."""
    check_model_files(settings.model_path, f"--model_path {settings.model_path}")
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
    slots = choose_slots(settings.gpu_ids, settings.num_processes)[: len(tasks)]
    logs = settings.output / "worker-*.log"
    start_answer_checker()  # it is ready when the model is, so the first answers need not wait for it
    print(f"loading {settings.model_path} in {len(slots)} process(es), log: {logs}", file=sys.stderr)
    by_scale = {run.scale: run for run in runs}
    earlier = [(run.scale, result) for run in runs for result in run.results.values()]
    with (
        Pool(slots, _loading(settings, runs[0]), settings.output, _chunks(settings)) as pool,
        Progress(len(questions) * len(runs), earlier, shown=shown) as progress,
    ):
        for answered in pool.run(tasks):
            progress.add(answered.scale, by_scale[answered.scale].take(answered))
    return len(slots)


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
