"""How long report.html of a large run takes to write, to open in Chromium, to page and to search.

    python benchmarks/report_page.py [--prompts 25000] [--rounds 5]

The run is made up: every prompt has four completions without a hint, one prompt in four has four more at level 1, and one in
eight four more at level 2. A completion is about 800 characters; the prompts share 500 pictures. The small run has 10 steps. Each
round opens each page in a new browser with an empty profile. A page is open when its first 20 cards with pictures are loaded. The
files are in the system's page cache, because they were written shortly before. Compare rows of one table: all of a round ran
within seconds of each other.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

from PIL import Image, ImageDraw

from benchmarks.chromium import Chromium
from hint_grpo.machine.hardware import describe_machine
from hint_grpo.training import ledger, rollout_log

PER_STEP, GROUP, NUM_PICTURES = 16, 4, 500
TEXT = (
    "since the angle at centre is twice the angle on circle and both segments are parallel to line we get therefore triangle "
    "isosceles sum of angles equals 180° so that AB = AC √3 half of arc diameter right hence tangent radius perpendicular"
)
WORDS = TEXT.split()


def rows_of_prompt(number: int, pictures: list[Path], rng: random.Random) -> Iterator[rollout_log.Row]:
    """The rollout rows of one prompt, whose last sampled level has a right completion."""
    last = 2 if number % 8 == 0 else 1 if number % 4 == 0 else 0
    for level in range(last + 1):
        for place in range(GROUP):
            right = level == last and place == 0
            answer = "65°" if right else f"{rng.randint(1, 64)}°"
            text = " ".join(rng.choices(WORDS, k=140))
            yield {
                "step": number // PER_STEP + 1,
                "id": f"sample-{number % 12_500:06}",
                "image": str(pictures[number % NUM_PICTURES]),
                "question": f"Question {number}: " + " ".join(rng.choices(WORDS, k=30)),
                "solution": "65°",
                "level": level,
                "hint": " ".join(rng.choices(WORDS, k=25 * level)),
                "place": place,
                "completion": f"{text}</think><answer>{answer}</answer>",
                "finish_reason": "stop",
                "num_tokens": 180,
                "rewards": {"accuracy": float(right)},
                "accuracy": float(right),
                "answer": answer,
                "verdict": "right" if right else "different",
                "trained": level == last,
                "advantage": (1.5 if right else -0.5) if level == last else None,
            }


def record_of(rows: list[rollout_log.Row]) -> ledger.Record:
    """The prompt's line of the hint ledger."""
    levels = sorted({row["level"] for row in rows})
    rewards = {str(level): [row["accuracy"] for row in rows if row["level"] == level] for level in levels}
    return {
        "step": rows[0]["step"],
        "id": rows[0]["id"],
        "level": levels[-1],
        "hint_steps": levels[-1],
        "num_steps": 3,
        "hint_tokens": 30 * levels[-1],
        "valid": True,
        "rewards": rewards,
        "accuracy": rewards,
        "sampled_tokens": dict.fromkeys(rewards, 180 * GROUP),
        "skipped_levels": 0,
    }


def make_run(folder: Path, num_prompts: int) -> int:
    """Writes the folder of a run; returns the number of its completions."""
    rng = random.Random(0)
    folder.mkdir(parents=True)
    pictures = [folder / f"{number}.png" for number in range(NUM_PICTURES)]
    for path in pictures:
        drawing = Image.new("RGB", (448, 336), "white")
        draw = ImageDraw.Draw(drawing)
        for _ in range(12):
            draw.line([rng.randrange(448) for _ in range(4)], fill="black", width=2)
        drawing.save(path)
    log = rollout_log.RolloutLog(folder / rollout_log.FOLDER, "all", 10**12)
    num_completions = 0
    with (folder / ledger.FILE_NAME).open("w", encoding="utf-8") as file:
        for first in range(0, num_prompts, PER_STEP):
            prompts = [
                list(rows_of_prompt(number, pictures, rng))
                for number in range(first, min(first + PER_STEP, num_prompts))
            ]
            log.append(first // PER_STEP + 1, prompts)
            file.writelines(json.dumps(record_of(rows)) + "\n" for rows in prompts)
            num_completions += sum(map(len, prompts))
    return num_completions


def write_page(folder: Path) -> tuple[float, float]:
    """Writes the page in a fresh process; returns its seconds and the peak memory in MiB of such processes so far."""
    begun = time.perf_counter()
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "hint_grpo.report", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=root)
    return time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10


def visit(small: Path, large: Path, profiles: Path) -> dict[str, float]:
    """One round: seconds by what was done, each page in a new browser with an empty profile."""
    seconds: dict[str, float] = {}
    for name, page in (("small", small), ("large", large)):
        begun = time.perf_counter()
        with Chromium(Path(tempfile.mkdtemp(dir=profiles))) as browser:
            seconds["start the browser"] = time.perf_counter() - begun
            seconds[f"open the {name} run"] = time_of(browser, lambda: browser.open(page))  # noqa: B023
            if name == "large":
                seconds |= {action: time_of(browser, lambda: go(browser, view)) for action, view in VIEWS.items()}  # noqa: B023
    return seconds


VIEWS = {
    "go to the last page": "#page=100000",
    "filter: right only with a hint": "#show=hinted",
    "search all texts, first time": "#search=Question+24",
    "search all texts, again": "#search=Question+17",
}


def go(browser: Chromium, view: str) -> None:
    browser.value(f"location.hash = {json.dumps(view)}")
    browser.settle()


def time_of(browser: Chromium, action: Callable[[], None]) -> float:
    """Seconds of an action; fails if the page shows no cards afterwards."""
    begun = time.perf_counter()
    action()
    seconds = time.perf_counter() - begun
    assert browser.value("document.querySelectorAll('.card').length") > 0
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=25_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep the made-up runs here, and use them again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.folder or Path(temporary)
        if not (root / "large").exists():
            make_run(root / "small", 10 * PER_STEP)
            make_run(root / "large", arguments.prompts)
        rounds_of(root, Path(temporary), arguments.rounds)


def rounds_of(root: Path, temporary: Path, num_rounds: int) -> None:
    num_completions = sum(1 for _ in rollout_log.read(root / "large" / rollout_log.FOLDER))
    write_page(root / "small")
    seconds, memory = write_page(root / "large")
    page = root / "large" / "report.html"
    beside = sum(file.stat().st_size for file in (root / "large").glob("report_data/*"))
    rounds = [visit(root / "small" / "report.html", page, temporary) for _ in range(num_rounds)]
    print(
        f"{describe_machine()}; load average {os.getloadavg()[0]:.1f}; {num_completions:,} completions; {num_rounds} rounds\n"
    )
    print(
        f"written in {seconds:.1f} s with {memory:.0f} MiB: report.html {page.stat().st_size / 1e6:.1f} MB, "
        f"files beside it {beside / 1e6:.1f} MB\n"
    )
    print("| what | median (s) | lowest to highest (s) | over starting the browser |\n|---|---|---|---|")
    start = [each["start the browser"] for each in rounds]
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        ratio = statistics.median(value / base for value, base in zip(values, start, strict=True))
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
