"""One scale of a run: which of its answers are there, what is still to do, and its summary at the end."""

from collections.abc import Sequence

from hint_grpo.data.questions import Question
from hint_grpo.evaluation.completions import write_completions
from hint_grpo.evaluation.identity import Conditions
from hint_grpo.evaluation.pool import Answered
from hint_grpo.evaluation.results import Result
from hint_grpo.evaluation.scored import scored
from hint_grpo.evaluation.settings import EvaluationSettings
from hint_grpo.evaluation.store import SET_ASIDE_FILE, ResultStore
from hint_grpo.evaluation.summary import Summary, installed_versions, read_summary, summarise, write_summary


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
