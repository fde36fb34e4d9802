"""Draws docs/figures/method: one toy question at every hint level with sampled completions, and data utilisation over training.

    python -m hint_grpo.toy WORLD                            the model that answers, and the data of the two trainings
    python train_model.py ... --hint_policy adaptive ...     see eval/recipes/settings/toy.yaml; likewise --hint_policy none
    python -m benchmarks.method_figure --world WORLD --run "Hint-GRPO=FOLDER" --run "plain GRPO=FOLDER"

Nothing in the figure is made up. The completions are sampled from the toy model as in training. The question is the first
long chain whose groups fail at levels 0 and 1, and are half right at level 2. Its sentences are drawn as signs, since nine of
them do not fit on a line: a disc with its digit for one that is read, an empty one for one that is passed over, the number
for a result. The curves come from the hint ledgers of the runs.
"""

import hint_grpo.machine.stack  # noqa: F401

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from hint_grpo import hints
from hint_grpo.data.llava_cot import split_steps
from hint_grpo.machine.errors import UserError, run_main
from hint_grpo.scoring import extract_answer, score
from hint_grpo.toy.measure import TRAINING_TEMPERATURE, complete, picture_of, training_requests
from hint_grpo.toy.tasks import DIGITS, TASK_SETS, Disc, Task, make_tasks
from hint_grpo.training import ledger
from hint_grpo.training.plots import per_step
from hint_grpo.training.smoothing import running_mean

OUTPUT = Path(__file__).parents[1] / "docs" / "figures" / "method"
MODEL = "Qwen2.5-VL-toy"
NUM_LEVELS, GROUP = 3, 4  # M and G, as in the recipes
NUM_TASKS = 64  # of which the first that fits is drawn
WINDOW = 8  # steps in the running mean of the curves

# The page, in pixels of the PNG; y counts downwards.
WIDTH, HEIGHT, DPI = 1600, 880, 100
LEFT, TEXT_END, CHIP = 30, 681, 160  # margin, end of the completions' text, width of an answer's chip
DOT = 14  # radius of a step's disc
LINE, BLOCK = 40, 222  # height of a completion's line, of a level's block
FIRST_BLOCK = 206
TEXT, SMALL = 20, 18  # font sizes, in pixels

INK, GREY, PALE = "#1b1f24", "#59636e", "#d7dce1"
HINT_FILL, HINT_EDGE = "#fff1c2", "#d9a400"
RIGHT_FILL, RIGHT_INK = "#d9f2dd", "#116329"
WRONG_FILL, WRONG_INK = "#ffe1de", "#a40e26"
CURVES = (("#0b5fa5", "-"), ("#c4571b", "--"))

# The sentences of a reasoning: a disc that is read, one that is passed over, a result.
READ = re.compile(r"(?:Step \d+: )?Disc \d is (\w+): (\d)\.")
PASSED_OVER = re.compile(r"(?:Step \d+: )?Disc \d looks like (\d)\.")
RESULT = re.compile(r"(?:Step \d+: )?The (?:first part|next part|number) is (\d+)\.")


@dataclass(frozen=True, slots=True)
class Completion:
    """The steps that the model wrote after the hint, the answer in its last <answer>, and the verdict."""

    steps: tuple[str, ...]
    answer: str
    right: bool


@dataclass(frozen=True, slots=True)
class Level:
    """One hint level of the question: the correct steps that the answer begins with, and how it goes on."""

    hint: tuple[str, ...]
    completions: tuple[Completion, ...]

    @property
    def num_right(self) -> int:
        return sum(completion.right for completion in self.completions)

    @property
    def is_half_right(self) -> bool:
        return 2 * self.num_right == len(self.completions)


# ----------------------------------------------------------------------------------------------------
# The question: sampled at all levels, as training samples it


def find_question(model_folder: Path, seed: int) -> tuple[Task, Image.Image, list[Level]]:
    """The first long chain that fails at levels 0 and 1 and is half right at level 2. Raises UserError for none."""
    processor = AutoProcessor.from_pretrained(model_folder)
    model = AutoModelForImageTextToText.from_pretrained(model_folder, dtype=torch.float32).eval()
    torch.manual_seed(seed)
    tasks = make_tasks(f"figure-{seed}", NUM_TASKS, TASK_SETS["long"])
    texts_HBG = [
        complete(
            model,
            processor,
            training_requests(tasks, level, NUM_LEVELS),
            num_samples=GROUP,
            temperature=TRAINING_TEMPERATURE,
        )
        for level in range(NUM_LEVELS)
    ]
    for index, task in enumerate(tasks):
        levels = [level_of(task, level, texts_BG[index]) for level, texts_BG in enumerate(texts_HBG)]
        if not any(level.num_right for level in levels[:-1]) and levels[-1].is_half_right:
            return task, picture_of(task, index), levels
    raise UserError(
        f"none of {len(tasks)} questions fails at levels 0 and 1 and is half right at level 2; try another --seed"
    )


def level_of(task: Task, level: int, texts_G: Sequence[str]) -> Level:
    """The group of a task at one level, scored as in training."""
    completions = [
        Completion(
            steps=split_steps(text.partition("</think>")[0]),
            answer=extract_answer(text) or "none",
            right=score(text, task.solution) == 1.0,
        )
        for text in texts_G
    ]
    return Level(task.steps[: hints.num_hint_steps(len(task.steps), level, NUM_LEVELS)], tuple(completions))


# ----------------------------------------------------------------------------------------------------
# The left side: picture, question, levels


def write(page: Axes, x: float, y: float, text: str, size: float = TEXT, colour: str = INK, **more: Any) -> float:
    """Writes `text` at pixel (x, y), left-aligned and centred on the line; returns the x where it ends."""
    drawn = page.text(x, y, text, fontsize=size * 72 / DPI, color=colour, va="center", **more)
    page.figure.canvas.draw()
    box = drawn.get_window_extent()
    return float(page.transData.inverted().transform((box.x1, box.y0))[0])


def box(page: Axes, x: float, y: float, width: float, height: float, fill: str, edge: str = "none") -> None:
    """A rounded box with its left edge at x, centred on the line y."""
    style = "round,pad=0,rounding_size=6"
    patch = FancyBboxPatch((x, y - height / 2), width, height, boxstyle=style, facecolor=fill, edgecolor=edge, zorder=0)
    page.add_patch(patch)


def draw_steps(page: Axes, x: float, y: float, steps: Sequence[str]) -> float:
    """Draws the steps from pixel x on, each by its sign or, if it has none, word for word; returns the x where they end."""
    for step in steps:
        if found := READ.fullmatch(step):
            x = draw_dot(page, x, y, found[2], Disc(found[1]))
        elif found := PASSED_OVER.fullmatch(step):
            x = draw_dot(page, x, y, found[1])
        else:
            result = RESULT.fullmatch(step)
            x = write(page, x, y, f"= {result[1]}" if result else step) + 12
    return x


def draw_dot(page: Axes, x: float, y: float, digit: str, disc: Disc | None = None) -> float:
    """A digit on a disc, which is empty for None; returns the x where the next sign begins."""
    paint = [value / 255 for value in disc.paint] if disc else "white"
    page.add_patch(
        Circle((x + DOT, y), DOT, facecolor=paint, edgecolor=paint if disc else GREY, linewidth=1.5, zorder=1)
    )
    write(page, x + DOT, y, digit, SMALL, "white" if disc else GREY, weight="bold", ha="center")
    return x + 2 * DOT + 6


def draw_question(page: Axes, task: Task, picture: Image.Image) -> None:
    """The picture in the upper left corner; beside it the question, the correct answer, and what colours and signs mean."""
    low, high = 20, 188
    right = LEFT + (high - low) * picture.width / picture.height
    page.imshow(picture, extent=(LEFT, right, high, low), interpolation="lanczos", zorder=1)
    page.plot([LEFT, right, right, LEFT, LEFT], [low, low, high, high, low], color=GREY, linewidth=1)
    x = right + 28
    key, _, asked = task.question.partition(". ")
    write(page, x, 31, f"{key}.", 22)
    write(page, x, 64, asked, 24, weight="bold")
    end = write(page, x, 100, f"Correct answer: {task.solution}", 22)
    write(page, end + 22, 100, f"{GROUP} completions per level, sampled from the toy model", SMALL, GREY)
    end = write(page, x + 8, 136, "hint: the beginning of a correct reasoning, given")
    box(page, x, 136, end - x + 8, 31, HINT_FILL, HINT_EDGE)
    for colour, digit in DIGITS.items():
        x = draw_dot(page, x, 173, str(digit), Disc(colour))
    end = write(page, x + 4, 173, "a disc that is read", SMALL, GREY)
    end = draw_dot(page, end + 28, 173, "0")
    end = write(page, end + 4, 173, "one that is passed over", SMALL, GREY)
    write(page, end + 28, 173, "=  what they spell", SMALL, GREY)


def draw_level(page: Axes, number: int, level: Level, num_steps: int, *, is_chosen: bool) -> None:
    """A heading, then a line per completion: the hint, what the model wrote, its answer and the verdict."""
    top = FIRST_BLOCK + number * BLOCK
    page.plot([LEFT, TEXT_END + CHIP + 22], [top, top], color=PALE, linewidth=1)
    given = f"{len(level.hint)} of {num_steps} steps given" if level.hint else "no hint"
    end = write(page, LEFT, top + 28, f"Level {number}: {given}", 22, weight="bold")
    result = f"{level.num_right} of {len(level.completions)} right"
    consequence = "GRPO trains on this group" if is_chosen else "nothing to learn, one level up"
    write(page, end + 22, top + 28, f"{result}: {consequence}", TEXT, RIGHT_INK if is_chosen else WRONG_INK)
    for line, completion in enumerate(level.completions):
        y = top + 70 + line * LINE
        x: float = LEFT
        if level.hint:
            end = draw_steps(page, x + 7, y, level.hint)
            box(page, x, y, end - x, 33, HINT_FILL, HINT_EDGE)
            x = end + 12
        end = draw_steps(page, x, y, completion.steps)
        if end > TEXT_END:
            raise UserError(
                f"a completion is too long for the figure; try another --seed: {' '.join(completion.steps)}"
            )
        draw_answer(page, y, completion)


def draw_answer(page: Axes, y: float, completion: Completion) -> None:
    """A green chip with a tick, or a red one with a cross, and the answer."""
    fill, ink, mark = (RIGHT_FILL, RIGHT_INK, "✓") if completion.right else (WRONG_FILL, WRONG_INK, "✗")
    box(page, TEXT_END + 22, y, CHIP, 33, fill, ink)
    write(page, TEXT_END + 38, y, mark, 23, ink, weight="bold")
    write(page, TEXT_END + 74, y, completion.answer, 21, ink, weight="bold")


# ----------------------------------------------------------------------------------------------------
# The right side: data utilisation


def draw_utilisation(axes: Axes, runs: Mapping[str, Path]) -> None:
    """Share of prompts with a mixed group over training steps, a line a run, named at its end with its mean."""
    for (label, folder), (colour, style) in zip(runs.items(), CURVES, strict=True):
        rows = per_step(ledger.read(folder / ledger.FILE_NAME))
        values = [row["data_utilization"] for row in rows]
        smooth = running_mean(values, WINDOW)[WINDOW - 1 :]
        steps = [row["step"] for row in rows][WINDOW - 1 :]
        axes.plot(steps, smooth, style, color=colour, linewidth=3, label=f"{label}, mean {mean(values):.0%}")
    size = SMALL * 72 / DPI
    axes.set_title(
        "Data utilisation during training", fontsize=26 * 72 / DPI, weight="bold", loc="left", pad=46, color=INK
    )
    explained = "share of prompts whose group has right and wrong answers"
    axes.text(0, 1.03, explained, transform=axes.transAxes, fontsize=TEXT * 72 / DPI, color=GREY)
    axes.set_xlabel(f"training step of the toy runs (mean of the last {WINDOW})", fontsize=size, color=INK)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=size)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best", fontsize=22 * 72 / DPI, frameon=False, handlelength=2.2)


def draw(task: Task, picture: Image.Image, levels: Sequence[Level], runs: Mapping[str, Path], stem: Path) -> None:
    """Writes the whole figure as PNG and SVG."""
    figure = plt.figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0), aspect="auto")
    page.axis("off")
    draw_question(page, task, picture)
    page.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0), aspect="auto")  # imshow has changed them
    for number, level in enumerate(levels):
        draw_level(page, number, level, len(task.steps), is_chosen=number == len(levels) - 1)
    draw_utilisation(figure.add_axes((0.61, 0.09, 0.365, 0.75)), runs)
    for ending in (".png", ".svg"):
        figure.savefig(stem.with_suffix(ending), dpi=DPI, metadata={"Date": None} if ending == ".svg" else None)
    plt.close(figure)


def _run(text: str) -> tuple[str, Path]:
    label, equals, folder = text.partition("=")
    if not equals or not (Path(folder) / ledger.FILE_NAME).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is not LABEL=FOLDER of a run with a {ledger.FILE_NAME}")
    return label, Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.method_figure", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--world", type=Path, required=True, help="a toy world, written by python -m hint_grpo.toy")
    parser.add_argument(
        "--run", type=_run, action="append", required=True, metavar="LABEL=FOLDER", help="give it twice"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="STEM", help="STEM.png and STEM.svg are written")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other questions and samples")
    options = parser.parse_args()
    if len(options.run) != len(CURVES):
        parser.error(f"--run is needed {len(CURVES)} times")
    if not (options.world / MODEL / "config.json").is_file():
        raise UserError(f"{options.world} is not a toy world; write one with: python -m hint_grpo.toy {options.world}")
    draw(*find_question(options.world / MODEL, options.seed), dict(options.run), options.output)
    print(f"saved to {options.output}.png and .svg")


if __name__ == "__main__":
    run_main(main)
