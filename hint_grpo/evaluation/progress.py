"""The progress bar: answers so far, and the running accuracy (paper protocol) of each scale."""

from collections.abc import Iterable

from tqdm import tqdm

from hint_grpo.evaluation.results import Result


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
