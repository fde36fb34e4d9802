"""`test_model.py --rescore`: judges the stored completions again, without model or data, after a change of the answer checker."""

from collections.abc import Sequence
from pathlib import Path

from hint_grpo.evaluation.judging import judge_again, write_completions
from hint_grpo.evaluation.report import draw_scales
from hint_grpo.evaluation.results import (
    RESULTS_FILE,
    Result,
    Summary,
    existing_results,
    read_summary,
    summarise,
    write_overview,
    write_results,
    write_summary,
)
from hint_grpo.evaluation.settings import ACCURACY_PROTOCOLS, BLIND, scale_name
from hint_grpo.machine.errors import UserError
from hint_grpo.machine.files import only_run_in


def rescore(
    output: Path, scales: Sequence[float] | None = None, *, no_image: bool = False, protocol: str | None = None
) -> list[Summary]:
    """Judges every scale folder of `output` again (or those of `scales`) and rewrites it in place; completions do not change.

    `protocol` is the one used for `correct_paper`; None uses the run's. Blind runs come first, so that the last line is not
    theirs; with `no_image` only they are judged. Raises UserError if there are no results.
    """
    folders = _folders(output, scales, no_image)
    with only_run_in(output):
        summaries = [_rescore_folder(folder, protocol) for folder in folders]
        write_overview(output, summaries)
        draw_scales(summaries, output)
    return summaries


def _folders(output: Path, scales: Sequence[float] | None, no_image: bool) -> list[Path]:
    """The folders to judge again: blind runs first, each kind by scale (or in the order of `scales`)."""
    found = {path.parent.name: path.parent for path in output.glob(f"scale-*/{RESULTS_FILE}")}
    order = sorted(map(_scale_of, found)) if scales is None else [float(scale) for scale in scales]
    kinds = (True,) if no_image else (True, False)  # blind or not
    names = dict.fromkeys(scale_name(scale, no_image=blind) for blind in kinds for scale in order)
    wanted = [name for name in names if name in found]
    if not wanted:
        raise UserError(f"{output} holds no results to score again: name a run's folder with --output_dir")
    return [found[name] for name in wanted]


def _rescore_folder(folder: Path, protocol: str | None) -> Summary:
    path = folder / RESULTS_FILE
    before = existing_results(path)
    old = read_summary(folder)
    made_with = old.get("made_with") or {}
    protocol = protocol or made_with.get("protocol") or ACCURACY_PROTOCOLS[0]
    results = [judge_again(result, protocol) for result in before.values()]
    write_results(path, results)
    write_completions(folder, results)
    changed = sum(_verdict(result) != _verdict(before[result.id]) for result in results)
    print(f"{folder.name}: {len(results)} answers scored again, {changed} judged differently")
    summary = summarise(
        results,
        name=folder.name,
        scale=_scale_of(folder.name),
        no_image=folder.name.endswith(BLIND),
        num_skipped=old.get("num_skipped", 0),
        tokens_per_second=old.get("tokens_per_second"),
        decoding=old.get("decoding"),
        made_with=made_with | {"protocol": protocol},
    )
    write_summary(folder, summary)
    return summary


def _verdict(result: Result) -> tuple[bool, bool]:
    return result.correct_paper, result.correct_strict


def _scale_of(name: str) -> float:
    """scale-0.8-no_image -> 0.8"""
    return float(name.removeprefix("scale-").removesuffix(BLIND))
