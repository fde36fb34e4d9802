"""The curves' geometry and the final values, by hand."""

import math
import re

import pytest

from hint_grpo.report import curves
from hint_grpo.report.curves import Line, chart, nice_ticks
from hint_grpo.report.data import Series, distinct_names, estimate


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.5, 1]), (0, 20, [0, 5, 10, 15, 20]), (1, 100, [50, 100]), (-1, 1, [-1, -0.5, 0, 0.5, 1])],
)
def test_ticks_are_round(low, high, ticks):
    assert nice_ticks(low, high) == ticks


def test_a_line_runs_from_edge_to_edge():
    svg = chart("t", [Line("a", [1, 2, 3], [0.0, 0.5, 1.0], "#123456")], is_share=True)
    bottom, right = curves.HEIGHT - curves.BOTTOM, curves.WIDTH - curves.RIGHT
    middle_x, middle_y = (curves.LEFT + right) / 2, (curves.TOP + bottom) / 2
    drawn = f"M{curves.LEFT:.1f} {bottom:.1f}L{middle_x:.1f} {middle_y:.1f}L{right:.1f} {curves.TOP:.1f}"
    assert f'd="{drawn}"' in svg
    assert 'class="raw"' not in svg  # three steps are not smoothed


def test_the_mean_lies_over_the_pale_raw_line():
    svg = chart("t", [Line("a", range(30), [0.0, 1.0] * 15, "#000")])
    assert re.findall(r'path class="(raw|mean)"', svg) == ["raw", "mean"]


def test_gaps_single_steps_and_nothing_at_all():
    gap = chart("t", [Line("a", [1, 2, 3], [1.0, math.nan, 2.0], "#000")])
    (path,) = re.findall(r'class="mean".*? d="([^"]*)"', gap)
    assert path.count("M") == 2
    assert "L" not in path
    assert "h0" in chart("t", [Line("a", [5], [0.3], "#000")])
    assert chart("t", [Line("a", [1, 2], [math.nan, math.nan], "#000")]) == ""
    assert chart("t", []) == ""


def test_long_lines_are_thinned_and_keep_their_end():
    svg = chart("t", [Line("a", range(10_000), [float(n % 7) for n in range(10_000)], "#000")])
    paths = re.findall(r'class="(?:raw|mean)".*? d="([^"]*)"', svg)
    right = f"{curves.WIDTH - curves.RIGHT:.1f} "
    assert all(path.count("L") <= curves.MAX_POINTS and path.rpartition("L")[2].startswith(right) for path in paths)


def test_labels_are_escaped():
    assert "<b>" not in chart("<b>", [Line("<b>", [1, 2], [1.0, 2.0], '"><b>')])


def test_final_values_by_hand():
    # 20 steps, of which the last 10 are 0 and 1 in turn: mean 0.5, deviation sqrt(10 * 0.25 / 9), t quantile 2.262
    found = estimate(Series(range(20), [9.0] * 10 + [0.0, 1.0] * 5))
    assert found.mean == 0.5
    assert found.half_width == pytest.approx(2.262 * math.sqrt(2.5 / 9) / math.sqrt(10))
    two = estimate(Series([1, 2, 3], [1.0, math.nan, 3.0]))
    assert (two.mean, two.num_steps) == (2.0, 2)
    assert two.half_width == pytest.approx(12.706 * math.sqrt(2) / math.sqrt(2))
    assert math.isnan(estimate(Series([1], [4.0])).half_width)
    assert estimate(None) is None
    assert estimate(Series([1], [math.nan])) is None


def test_names_tell_folders_apart(tmp_path):
    assert distinct_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert distinct_names([tmp_path / "x" / "a", tmp_path / "y" / "a"]) == ["x/a", "y/a"]
    assert distinct_names([tmp_path / "a", tmp_path / "a"]) == ["a (1)", "a (2)"]


def test_the_stages_are_those_that_a_run_logs():
    import hint_grpo.machine.stack  # noqa: F401

    from hint_grpo.report.data import STAGES
    from hint_grpo.training.monitoring import NAMES

    assert STAGES == NAMES
