import json
import math

import pytest

from hint_grpo.training import ledger, plots
from hint_grpo.training.plots import per_step, plot_utilization
from hint_grpo.training.smoothing import caption, running_mean, window_of


def record(step, level, rewards, num_steps=3, hint_steps=0):
    return {
        "step": step,
        "id": "x",
        "level": level,
        "hint_steps": hint_steps,
        "num_steps": num_steps,
        "hint_tokens": 0,
        "valid": ledger.is_valid(rewards[str(level)]),
        "rewards": rewards,
        "accuracy": rewards,
        "sampled_tokens": dict.fromkeys(rewards, 10),
        "skipped_levels": 0,
    }


def test_valid_group_has_two_different_rewards():
    assert ledger.is_valid([0.0, 1.0])
    assert not ledger.is_valid([0.0, 0.0])
    assert not ledger.is_valid([1.0, 1.0])
    assert not ledger.is_valid([math.nan, 1.0])


def test_metrics_by_hand():
    records = [
        record(1, 0, {"0": [0.0, 1.0]}),
        record(1, 1, {"0": [0.0, 0.0], "1": [1.0, 0.0]}, hint_steps=1),
        record(1, 1, {"0": [0.0, 0.0], "1": [1.0, 1.0]}, hint_steps=1),
        record(1, 0, {"0": [0.0, 0.0], "1": [0.0, 0.0]}, num_steps=1),
    ]
    metrics = ledger.metrics(records, 3)
    assert metrics["hint/data_utilization"] == 0.5
    assert metrics["hint/data_utilization_level0"] == 0.25
    assert metrics["hint/mean_level"] == 0.5
    assert metrics["hint/never_correct"] == 0.25
    assert metrics["hint/one_step_samples"] == 1
    assert metrics["hint/share_level_1"] == 0.5
    assert metrics["hint/reward_level_0"] == 0.125
    assert metrics["hint/reward_level_1"] == 0.5
    assert math.isnan(metrics["hint/reward_level_2"])
    assert metrics["hint/sampled_tokens"] == 70


def test_resume_drops_later_steps_and_a_torn_line(tmp_path):
    path = tmp_path / ledger.FILE_NAME
    ledger.append(path, [record(step, 0, {"0": [0.0, 1.0]}) for step in (1, 2, 3)])
    with path.open("a") as file:
        file.write('{"step": 4, "id"')
    ledger.start(path, 2)
    assert [line["step"] for line in ledger.read(path)] == [1, 2]


def test_fresh_run_keeps_the_old_ledger_beside(tmp_path):
    path = tmp_path / ledger.FILE_NAME
    ledger.append(path, [record(1, 0, {"0": [0.0, 1.0]})])
    ledger.start(path, 0)
    assert not path.exists()
    assert json.loads((tmp_path / "hint_ledger.1.jsonl").read_text())["step"] == 1


def test_plot_and_its_numbers(tmp_path):
    path = tmp_path / ledger.FILE_NAME
    ledger.append(path, [record(1, 0, {"0": [0.0, 1.0]}), record(2, 1, {"0": [0.0, 0.0], "1": [1.0, 0.0]})])
    ledger.append(path, [record(3, 0, {"0": [0.0, 0.0], "1": [0.0, 0.0]}), record(3, 0, {"0": [1.0, 1.0]})])
    assert [list(row.values()) for row in per_step(ledger.read(path))] == [
        [1, 1.0, 1.0, 0.0, 0.0],
        [2, 1.0, 0.0, 1.0, 0.0],
        [3, 0.0, 0.0, 0.0, 0.5],  # level 0 for both: one failed at every level, one needs no hint
    ]
    plot_utilization({"Hint-GRPO": path}, tmp_path / "figure")
    assert (tmp_path / "figure.png").stat().st_size > 5000
    assert (tmp_path / "figure.svg").exists()
    header, first, *_ = (tmp_path / "figure.csv").read_text().splitlines()
    assert header == "run,step,data_utilization,data_utilization_level0,mean_level,never_correct"
    assert first == "Hint-GRPO,1,1.0,1.0,0.0,0.0"


def test_the_plot_has_pale_steps_under_means_and_says_how_many_prompts(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, stem: figures.append(figure))
    path = tmp_path / ledger.FILE_NAME
    values = [[0.0, 1.0], [1.0, 1.0]]
    ledger.append(
        path, [record(step, 0, {"0": values[(step + place) % 2]}) for step in range(20) for place in (0, 0, 1)]
    )
    plot_utilization({"a": path}, tmp_path / "figure")
    (figure,) = figures
    for axes in figure.axes:
        raw, mean = axes.lines
        assert raw.get_alpha() < 0.5
        assert raw.get_zorder() < mean.get_zorder()
        assert list(mean.get_ydata()) == running_mean(list(raw.get_ydata()), 5)
    assert [text.get_text() for text in figure.texts] == [
        "Mean of the last 5 steps over the pale single ones. 3 prompts per step."
    ]
    figure.canvas.draw()
    upper = figure.axes[0]
    assert upper.get_legend().get_window_extent().y0 >= upper.get_window_extent().y1 - 1  # above the data
    plots.plt.close(figure)


def test_running_mean_by_hand():
    assert running_mean([1.0, 3.0, 5.0, 7.0], 2) == [1.0, 2.0, 4.0, 6.0]
    means = running_mean([math.nan, 2.0, math.nan, 6.0], 2)
    assert math.isnan(means[0])
    assert means[1:] == [2.0, 2.0, 6.0]


@pytest.mark.parametrize(("lengths", "window"), [([], 1), ([2], 1), ([9], 3), ([30, 12], 5), ([80], 8)])
def test_the_window_of_the_mean(lengths, window):
    assert window_of(lengths) == window


def test_the_caption_names_a_range_if_runs_differ():
    assert caption(1, [8, 8]) == "8 prompts per step."
    assert caption(4, [16, 8]) == "Mean of the last 4 steps over the pale single ones. 8 to 16 prompts per step."
