"""The page of an evaluation: accuracy by run or scale, paired tests, and the answers of up to three runs side by side.

Reads what test_model.py writes (docs/outputs.md): results.jsonl and summary.json of each scale. Questions on which the runs
disagree come first.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hint_grpo.data.paths import BadImage
from hint_grpo.data.questions import relative_to_data
from hint_grpo.evaluation.compare import REPORTED_PROTOCOLS, compare
from hint_grpo.evaluation.results import RESULTS_FILE, Result, existing_results, read_summary, wilson_interval
from hint_grpo.machine.errors import UserError
from hint_grpo.report import curves
from hint_grpo.report.cards import LIMITS, Limits, files_note
from hint_grpo.report.data import distinct_names
from hint_grpo.report.page import COLOURS, render
from hint_grpo.report.page_files import CardStore, PageFiles, num_characters
from hint_grpo.report.pictures import scaled_pictures
from hint_grpo.scoring.explanation import RIGHT, explain

MAX_COLUMNS = 3
STATES = {
    "differs": "runs disagree",
    "protocols": "protocols disagree",
    "right": "right in all runs",
    "wrong": "wrong in all runs",
}
"""The states of a question in words, in the order in which questions are shown."""


@dataclass(frozen=True)
class Evaluation:
    """The results of one scale of one run."""

    folder: Path
    results: Mapping[str, Result]
    summary: Mapping[str, Any]
    """summary.json; empty if the evaluation is not finished."""

    @property
    def made_with(self) -> Mapping[str, Any]:
        return self.summary.get("made_with", {})


def scale_folders(folder: Path) -> list[Path]:
    """The folders with results in an output folder of test_model.py, or the folder itself if it is one; [] if there are none."""
    if (folder / RESULTS_FILE).is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"scale-*/{RESULTS_FILE}"))


def read_evaluations(folders: Sequence[Path]) -> dict[str, Evaluation]:
    """The evaluations by the shortest names that tell them apart. Raises UserError for a folder without results."""
    found = []
    for folder in folders:
        scales = scale_folders(folder)
        if not scales:
            raise UserError(
                f"{folder} has no {RESULTS_FILE} and no scale-* folder with one: give a folder of test_model.py"
            )
        found += [Evaluation(scale, existing_results(scale / RESULTS_FILE), read_summary(scale)) for scale in scales]
    return dict(zip(distinct_names([each.folder for each in found]), found, strict=True))


def evaluation_page(runs: Mapping[str, Evaluation], title: str, files: PageFiles, limits: Limits = LIMITS) -> str:
    """The page as text; `files` gets what it loads later. Questions show the answers of the first three runs."""
    shown = dict(list(runs.items())[:MAX_COLUMNS])
    questions = sorted(
        _questions(shown), key=lambda card: list(STATES).index(card["state"])
    )  # sorted() keeps their order
    cards = _within(questions, limits)
    paths = {path: number for number, path in enumerate(dict.fromkeys(card["image"] for card in cards))}
    pictures = scaled_pictures(paths, files, max_bytes=limits.picture_bytes, max_embedded=limits.embedded_pictures)
    store = CardStore(files, limits.embedded_text)
    for card in cards:
        store.add(card | {"image": paths[card["image"]]})
    data = store.data() | {"pictures": pictures, "states": STATES, "noun": "questions", "think": "", "injection": ""}
    return render(
        "evaluation.html",
        title=title,
        facts=_facts(runs),
        accuracies=[(name, _accuracy_cells(run)) for name, run in runs.items()],
        tests=list(_paired_tests(runs)),
        charts=_charts(runs),
        num_cards=len(cards),
        states=STATES,
        notes=[*_left_out(runs, shown, len(questions), len(cards), pictures), *files_note(data, "questions")],
        data=data,
    )


def _left_out(
    runs: Mapping[str, Evaluation],
    shown: Iterable[str],
    num_questions: int,
    num_cards: int,
    pictures: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    if len(runs) > MAX_COLUMNS:
        yield (
            f"Answers are shown of the first {MAX_COLUMNS} of {len(runs)} runs ({', '.join(shown)}). "
            "To choose others, give their scale-* folders."
        )
    if any(one.judging.judge == "none" for run in runs.values() for one in run.results.values()):
        yield "These answers were not judged here: the benchmark has its own evaluator, and nothing below counts."
    if num_cards < num_questions:
        yield f"The page has the first {num_cards:,} of {num_questions:,} questions, disagreements first."
    # Missing pictures and those beyond the size limit.
    missing = sum(not picture["src"] for picture in pictures)
    if missing:
        yield f"{missing:,} of {len(pictures):,} pictures are missing or left out; their cards show the path."


# ----------------------------------------------------------------------------------------------------
# The top of the page


def _facts(runs: Mapping[str, Evaluation]) -> list[tuple[str, str]]:
    """(name, value) pairs: what all runs share, and by run what differs."""
    facts: dict[str, dict[str, str]] = {}
    for name, run in runs.items():
        made = run.made_with
        decoding = run.summary.get("decoding", {})
        texts = {
            "model": made.get("model_path"),
            "questions": made.get("benchmark") or made.get("prompt_path"),
            "pictures": made.get("data_path"),
            "preset": made.get("preset"),
            "decoding": ", ".join(
                f"{key} {value}" for key, value in decoding.items() if key not in ("weights", "scale")
            ),
            "versions": ", ".join(f"{package} {version}" for package, version in made.get("versions", {}).items()),
            "machine": made.get("machine"),
            "folder": run.folder,
        }
        for key, value in texts.items():
            if value:
                facts.setdefault(key, {})[name] = str(value)
    return [
        (
            key,
            next(iter(values.values()))
            if len(set(values.values())) == 1
            else "; ".join(map(": ".join, values.items())),
        )
        for key, values in facts.items()
    ]


def _accuracy_cells(run: Evaluation) -> list[str]:
    results = run.results.values()
    cells = [f"{len(results):,}"]
    for right in (sum(one.correct_paper for one in results), sum(one.correct_strict for one in results)):
        low, high = wilson_interval(right, len(results))
        cells.append(f"{100 * right / len(results):.1f} ({100 * low:.1f} to {100 * high:.1f})")
    no_answer = sum(one.answer is None for one in results)
    return [*cells, f"{no_answer:,}", f"{sum(one.finish_reason == 'length' for one in results):,}"]


def _paired_tests(runs: Mapping[str, Evaluation]) -> Iterator[str]:
    """McNemar's exact test of every run against the first, under both protocols."""
    (first, base), *others = runs.items()
    for name, run in others:
        for protocol in REPORTED_PROTOCOLS:
            try:
                found = compare(base.results, run.results, protocol)
            except UserError as error:
                yield f"{name} against {first}: {error}"
                break
            yield (
                f"{name} against {first}, {protocol} protocol: {100 * (found.accuracy_b - found.accuracy_a):+.1f} points over "
                f"{found.num_questions:,} questions; right only in {name} {found.only_b}, only in {first} {found.only_a}; "
                f"McNemar's exact test p = {found.p_value:.3g}"
            )


def _charts(runs: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """Accuracy by scale, if there are two scales or more: a line per protocol, and per output folder."""
    groups: dict[tuple[Path, bool], list[Evaluation]] = {}
    for run in runs.values():
        if "scale" in run.summary:
            groups.setdefault((run.folder.resolve().parent, run.summary["no_image"]), []).append(run)
    groups = {
        key: sorted(group, key=lambda run: run.summary["scale"]) for key, group in groups.items() if len(group) > 1
    }
    lines = []
    for number, ((folder, no_image), group) in enumerate(groups.items()):
        for protocol in REPORTED_PROTOCOLS:
            label = " ".join(
                (protocol, *([folder.name] if len(groups) > 1 else []), *(["without picture"] if no_image else []))
            )
            scales = [run.summary["scale"] for run in group]
            values = [100 * run.summary[f"accuracy_{protocol}"] for run in group]
            lines.append(curves.Line(label, scales, values, COLOURS[number % len(COLOURS)], protocol != "paper"))
    if not lines:
        return []
    return [
        {
            "title": "Accuracy",
            "svg": Markup(curves.chart("Accuracy by scale", lines, is_smoothed=False)),
            "legend": [(line.label, line.colour, line.is_dashed) for line in lines],
            "caption": "Percent, over the scale of text-bias calibration.",
        }
    ]


# ----------------------------------------------------------------------------------------------------
# Questions


def _questions(runs: Mapping[str, Evaluation]) -> Iterator[dict[str, Any]]:
    """One card per question that any run answered, as in hint_grpo.report.cards, with one level and a completion per run."""
    for id in dict.fromkeys(id for run in runs.values() for id in run.results):
        answers = {name: run.results[id] for name, run in runs.items() if id in run.results}
        name, first = next(iter(answers.items()))
        completions = [_completion(name, result) for name, result in answers.items()]
        yield {
            "id": id,
            "image": _picture_path(runs[name], first.image_path),
            "question": first.question,
            "solution": first.ground_truth,
            "state": _state(list(answers.values())),
            "levels": [{"level": None, "hint": "", "rewards": None, "completions": completions}],
        }


def _state(answers: Sequence[Result]) -> str:
    if len({one.correct_paper for one in answers}) > 1 or len({one.correct_strict for one in answers}) > 1:
        return "differs"
    if answers[0].correct_paper != answers[0].correct_strict:
        return "protocols"
    return "right" if answers[0].correct_paper else "wrong"


def _completion(name: str, result: Result) -> dict[str, Any]:
    verdict = explain(result.completion, result.ground_truth, correct=result.correct_paper).verdict
    marks = {True: "✓", False: "✗"}
    return {
        "name": name,
        "text": result.completion,
        "answer": result.answer,
        "verdict": RIGHT if result.correct_paper else verdict,
        "finish": result.finish_reason,
        "tokens": result.num_tokens,
        "rewards": {},
        "advantage": None,
        "notes": [f"paper {marks[result.correct_paper]}, strict {marks[result.correct_strict]}"],
    }


def _picture_path(run: Evaluation, image_path: str) -> str:
    """The picture's file: an absolute path, one in --data_path, or one that a benchmark's run wrote to its output folder."""
    if not image_path or Path(image_path).is_absolute():
        return image_path
    try:
        inside = Path(run.made_with.get("data_path") or "") / relative_to_data(image_path)
    except BadImage:
        return image_path
    beside = run.folder.parent / image_path
    return str(beside if beside.is_file() and not inside.is_file() else inside)


def _within(questions: Sequence[dict[str, Any]], limits: Limits) -> list[dict[str, Any]]:
    """The first questions, as many as the limits allow."""
    text, kept = 0, []
    for card in questions[: limits.cards]:
        text += num_characters(card)
        if text > limits.text:
            break
        kept.append(card)
    return kept
