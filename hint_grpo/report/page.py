"""The pages of training runs: report.html for one run, comparison.html for several.

A page refers to nothing outside of its folder. All text from models and data passes through Jinja's autoescape or is JSON that
the page's script puts into the document as text, never as markup. A content security policy names the script by its digest, so
that no other script runs and nothing is fetched; on a large page, this script may load the files of cards and pictures beside
it (hint_grpo.report.page_files).
"""

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hint_grpo.prompts import QUERY_HINT, THINK_OPEN
from hint_grpo.report import curves
from hint_grpo.report.cards import LIMITS, Limits, read_cards
from hint_grpo.report.data import LAST_STEPS, LOGP_GAP, STAGES, Estimate, Run, estimate
from hint_grpo.report.page_files import FOLDER, PageFiles, dump
from hint_grpo.training.rollout_log import KEEP_WORDS
from hint_grpo.training.smoothing import caption, window_of

# Colours that readers with a colour vision deficiency can tell apart (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5c00", "#444444")
STATES = {"hinted": "right only with a hint", "never": "never correct", "unaided": "right without a hint"}
"""The states of a card (hint_grpo.report.cards) in words, in the order of the filter."""


@dataclass(frozen=True)
class Metric:
    """A metric in a chart and in the table of final values."""

    key: str
    label: str
    is_share: bool = False


UTILIZATION = Metric("hint/data_utilization", "data utilisation", True)
LEVEL0_UTILIZATION = Metric("hint/data_utilization_level0", "data utilisation at level 0 alone", True)
LEVEL0_REWARD = Metric("hint/reward_level_0", "reward at level 0")
NEVER_CORRECT = Metric("hint/never_correct", "share of prompts never correct", True)
MEAN_LEVEL = Metric("hint/mean_level", "mean hint level")
GAP = Metric(LOGP_GAP, "log-probability gap")
TOTAL_TIME = Metric("time/total", "seconds per step")
STAGE_TIMES = tuple(Metric(f"time/{stage}", stage) for stage in STAGES)
FINAL = (UTILIZATION, LEVEL0_UTILIZATION, LEVEL0_REWARD, NEVER_CORRECT, MEAN_LEVEL, GAP, TOTAL_TIME)

# title, the metrics of one run's chart (the second is dashed), the metric of the comparison, explanation
CHARTS: tuple[tuple[str, tuple[Metric, ...], Metric, str], ...] = (
    (
        "Data utilisation",
        (UTILIZATION, LEVEL0_UTILIZATION),
        UTILIZATION,
        "Share of prompts whose trained group has different rewards.",
    ),
    (
        "Reward at level 0",
        (LEVEL0_REWARD,),
        LEVEL0_REWARD,
        "Mean reward at the first level: without a hint, unless the hint policy always gives one.",
    ),
    ("Never correct", (NEVER_CORRECT,), NEVER_CORRECT, "Share of prompts without a right completion at any level."),
    ("Hint level", (MEAN_LEVEL,), MEAN_LEVEL, "Mean level trained on; 0 is the question without a hint."),
    (
        "Log-probability gap",
        (GAP,),
        GAP,
        "Mean difference of the sampler's and the trainer's log-probability per token, with vLLM only.",
    ),
    ("Stage times", STAGE_TIMES, TOTAL_TIME, "Seconds per step, slowest rank; score runs in parallel with generate."),
)


def run_page(run: Run, page_files: PageFiles, limits: Limits = LIMITS) -> str:
    """report.html: what the run is, whether it is healthy, its curves and its prompts. `page_files` gets what it loads later."""
    found = read_cards(run.folder, page_files, limits)
    data = {
        **found.data,
        "injection": run.flags.get("hint_injection", "answer"),
        "think": THINK_OPEN,
        "query_hint": QUERY_HINT,
        "states": STATES,
        "noun": "prompts",
    }
    return render(
        "run.html",
        title=run.name,
        facts=_facts(run),
        health=_health(run),
        charts=_run_charts(run),
        table=_final_table({run.name: run}),
        num_cards=found.count,
        first_step=found.steps[0],
        last_step=found.steps[1],
        states=STATES,
        levels=found.levels,
        notes=found.notes + _kept_less(run, has_cards=bool(found.count)),
        data=data,
    )


def comparison_page(runs: Mapping[str, Run], links: Mapping[str, str]) -> str:
    """comparison.html: the curves of several runs in one plot each, their final values, and links to their own pages."""
    colours = dict(zip(runs, _cycle(len(runs)), strict=True))
    charts = [
        _chart(
            title,
            [(name, run, metric, colours[name], False) for name, run in runs.items()],
            text,
            metric.is_share,
        )
        for title, _, metric, text in CHARTS
    ]
    facts = {name: dict(_facts(run)) for name, run in runs.items()}
    rows = list(dict.fromkeys(key for each in facts.values() for key in each))
    return render(
        "comparison.html",
        title="Comparison of " + ", ".join(runs),
        charts=charts,
        table=_final_table(runs),
        facts=[(key, [facts[name].get(key, "") for name in runs]) for key in rows],
        runs=[(name, links[name], colours[name]) for name in runs],
    )


def render(template: str, **values: Any) -> str:
    """A page from a template of templates/, with the script and the styles that all pages share; `data`: for the script."""
    script = _asset("report.js")
    data = values.pop("data", {})
    pictures = data.get("pictures", [])
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    text = (
        _environment()
        .get_template(template)
        .render(
            style=Markup(_asset("report.css")),
            script=Markup(script),
            script_digest=digest,
            has_files="files" in data,
            has_picture_files=any((picture["src"] or "").startswith(FOLDER) for picture in pictures),
            last_steps=LAST_STEPS,
            data=dump(data),
            **values,
        )
    )
    # Lone surrogates, which a model's broken bytes can become, have no UTF-8.
    return text.encode("utf-8", errors="replace").decode("utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("hint_grpo.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return (files("hint_grpo.report") / "templates" / name).read_text(encoding="utf-8")


# ----------------------------------------------------------------------------------------------------
# What the run is, and whether it is healthy


def _facts(run: Run) -> list[tuple[str, str]]:
    """(name, value) pairs; what no file states is left out."""
    flags, card = run.flags, run.card
    facts = {
        "model": flags.get("model_name_or_path"),
        "data": " in ".join(str(flags[key]) for key in ("dataset_name", "data_path") if flags.get(key)),
        "settings": run.preset_line.partition(" (others")[0],
        "hints": card.get("hints") or _hints(flags),
        "group": f"{flags['num_generations']} completions" if "num_generations" in flags else None,
        "rewards": ", ".join(flags["reward_funcs"]) if isinstance(flags.get("reward_funcs"), list) else None,
        "learning rate": flags.get("learning_rate", card.get("learning_rate")),
        "seed": flags.get("seed", card.get("seed")),
        "steps": f"{run.last_step:,}" + (f" of {run.max_steps:,}" if run.max_steps else ""),
        "prompts": f"{run.num_prompts:,} in the ledger, {run.prompts_per_step:,} per step",
        "duration": _duration(run.duration_s),
        "machine": run.machine,
        "versions": card.get("versions"),
        "folder": str(run.folder),
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def _hints(flags: Mapping[str, Any]) -> str:
    policy = flags.get("hint_policy", "")
    details = {"adaptive": f", M = {flags.get('num_groups', '?')}", "fixed": f", ratio {flags.get('hint_ratio', '?')}"}
    return f"{policy}{details.get(policy, '')}, {flags.get('hint_injection', 'answer')} injection" if policy else ""


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    hours, minutes = divmod(round(seconds / 60), 60)
    text = f"{hours} h {minutes} min" if hours else f"{minutes} min" if seconds >= 90 else f"{seconds:.0f} s"
    return f"{text} (training loop, since its last start)"


def _health(run: Run) -> list[tuple[bool, str]]:
    """(is it fine, sentence) for each check that the run's files allow, over the last steps."""

    def last(key: str) -> float:
        found = estimate(run.series.get(key))
        return found.mean if found else math.nan

    used, never, gap = last(UTILIZATION.key), last(NEVER_CORRECT.key), last(GAP.key)
    unusable, cut = last("rewards/unusable"), last("completions/clipped_ratio")
    limit = float(run.flags.get("max_logp_gap", 0.05))
    checks = [
        (run.is_finished, f"The run is {'' if run.is_finished else 'not '}finished."),
        (used > 0.1, f"{used:.0%} of the prompts contribute to the training (data utilisation)."),
        (never < 0.5, f"{never:.0%} of the prompts have no right completion at any level."),
    ]
    if math.isfinite(gap):
        checks.append((gap <= limit, f"The log-probability gap is {gap:.3g}; --max_logp_gap is {limit:g}."))
    if math.isfinite(cut):
        checks.append((cut < 0.5, f"{cut:.0%} of the completions are cut off by --max_completion_length."))
    if unusable > 0:
        checks.append((False, f"{unusable:.3g} rewards per step are not numbers."))
    return checks


def _kept_less(run: Run, *, has_cards: bool) -> list[str]:
    keep = str(run.flags.get("keep_rollouts", KEEP_WORDS[0]))
    if keep == KEEP_WORDS[0] or not has_cards:
        return []
    return [f"The run stored completions with --keep_rollouts {keep}, so some levels or prompts are not here."]


# ----------------------------------------------------------------------------------------------------
# Curves and the table of final values


def _run_charts(run: Run) -> list[dict[str, Any]]:
    charts = []
    for title, metrics, _, text in CHARTS:
        lines = [
            (metric.label, run, metric, colour, len(metrics) == 2 and place == 1)
            for place, (metric, colour) in enumerate(zip(metrics, _cycle(len(metrics)), strict=True))
        ]
        charts.append(_chart(title, lines, text, metrics[0].is_share))
    return charts


def _chart(
    title: str, chosen: Iterable[tuple[str, Run, Metric, str, bool]], text: str, is_share: bool
) -> dict[str, Any]:
    """A chart for the template: SVG, legend and caption. `chosen`: label, run, metric, colour, is dashed."""
    chosen = list(chosen)
    lines = [
        curves.Line(label, found.steps, found.values, colour, dashed)
        for label, run, metric, colour, dashed in chosen
        if (found := run.series.get(metric.key)) is not None
    ]
    window = window_of(len(line.values) for line in lines)
    return {
        "title": title,
        "svg": Markup(curves.chart(title, lines, is_share=is_share)),
        "legend": [(line.label, line.colour, line.is_dashed) for line in lines] if len(chosen) > 1 else [],
        "caption": f"{text} {caption(window, (run.prompts_per_step for _, run, *_ in chosen))}",
    }


def _final_table(runs: Mapping[str, Run]) -> list[tuple[str, list[str]]]:
    """One row per metric that any run has: its label, and one cell per run."""
    rows = []
    for metric in FINAL:
        cells = [estimate(run.series.get(metric.key)) for run in runs.values()]
        if any(cells):
            rows.append((metric.label, [_cell(cell) for cell in cells]))
    return rows


def _cell(found: Estimate | None) -> str:
    if found is None:
        return "not measured"
    if math.isnan(found.half_width):
        return f"{found.mean:.3g} (1 step)"
    steps = f" ({found.num_steps} steps)" if found.num_steps < LAST_STEPS else ""
    return f"{found.mean:.3f} ± {found.half_width:.3f}{steps}"


def _cycle(count: int) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]
