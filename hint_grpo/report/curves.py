"""Curves over steps as SVG text: a running mean over the pale raw values.

Pure Python, so that a page can be written without matplotlib; the SVG has no outside references and scales with its container.
The legend is not part of the SVG: the page prints it above, so that it never covers data.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from hint_grpo.training.smoothing import running_mean, window_of

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 22
MAX_POINTS = 600
"""More points than this per line cannot be told apart at the width of a page."""


@dataclass(frozen=True)
class Line:
    """One line of a chart; `values` may be NaN, which leaves a gap."""

    label: str
    steps: Sequence[float]
    values: Sequence[float]
    colour: str
    is_dashed: bool = False


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`."""
    raw = (high - low) / count or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def chart(title: str, lines: Sequence[Line], *, is_share: bool = False, is_smoothed: bool = True) -> str:
    """The SVG of a chart; empty without a finite value. `is_share`: the axis runs from 0 to 1, so that charts of shares can be
    compared by eye. `is_smoothed=False` draws the values alone."""
    finite = [value for line in lines for value in line.values if math.isfinite(value)]
    steps = [step for line in lines for step in line.steps]
    if not finite:
        return ""
    low, high = (0.0, 1.0) if is_share else (min(0.0, *finite), max(0.0, *finite))
    if low == high:
        high = low + 1.0
    spacing = nice_ticks(low, high)[1] - nice_ticks(low, high)[0]
    low, high = (math.floor(low / spacing + 1e-9) * spacing, math.ceil(high / spacing - 1e-9) * spacing)
    first, last = min(steps), max(steps)

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((step - first) / (last - first) if last > first else 0.5)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    window = window_of(len(line.values) for line in lines) if is_smoothed else 1
    drawn = [_grid(x, y, (first, last), (low, high))]
    # All pale lines come first, so that none of them covers a mean.
    if window > 1:
        drawn += [_path(line, line.values, x, y, "raw") for line in lines]
    drawn += [_path(line, running_mean(line.values, window), x, y, "mean") for line in lines]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">'
        f"{''.join(drawn)}</svg>"
    )


Scale = Callable[[float], float]
"""From a step or a value to a position in the SVG."""


def _grid(x: Scale, y: Scale, steps: tuple[float, float], values: tuple[float, float]) -> str:
    parts = []
    for tick in nice_ticks(*values):
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    if steps[0] == steps[1]:
        ticks = [steps[0]]
    else:
        ticks = [
            tick
            for tick in nice_ticks(*steps)
            if tick == int(tick)
            or not (steps[0] == int(steps[0]) and steps[1] == int(steps[1]) and steps[1] - steps[0] > 1)
        ]
    for tick in ticks:
        # A number at the right edge ends there instead of being cut off.
        anchor = "end" if x(tick) > WIDTH - RIGHT - 12 else "middle"
        parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{tick:g}</text>')
    return "".join(parts)


def _path(line: Line, values: Sequence[float], x: Scale, y: Scale, css_class: str) -> str:
    """One path; a point that stands alone between gaps is drawn as a dot (a line of length 0 with round ends)."""
    stride = -(-len(values) // MAX_POINTS)
    last = len(values) - 1
    points = [(line.steps[i], values[i]) for i in range(len(values)) if i % stride == 0 or i == last]
    commands, is_down = [], False
    for position, (step, value) in enumerate(points):
        if not math.isfinite(value):
            is_down = False
            continue
        place = f"{x(step):.1f} {y(value):.1f}"
        commands.append(f"L{place}" if is_down else f"M{place}")
        alone = position + 1 == len(points) or not math.isfinite(points[position + 1][1])
        if not is_down and alone:
            commands.append("h0")
        is_down = True
    dashed = ' stroke-dasharray="5 4"' if line.is_dashed else ""
    dot = ' stroke-width="5"' if commands and all(command[0] != "L" for command in commands) else ""
    return (
        f'<path class="{css_class}" stroke="{escape(line.colour)}"{dashed}{dot} d="{"".join(commands)}">'
        f"<title>{escape(line.label)}</title></path>"
    )
