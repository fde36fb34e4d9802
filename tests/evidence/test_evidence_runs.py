"""Experiments a and e in small: real trainings, measurements and evaluations from the shipped model, to tables and figures."""

import json
import time

import pytest

from eval.evidence import jobs, protocol
from eval.evidence.figures import draw
from eval.evidence.jobs import Study, run_all
from eval.evidence.protocol import HINTS, PLAIN, Base, Evaluation, Experiment, Measurement, Run, measurements_of
from eval.evidence.report import write_report
from eval.evidence.results import Results
from hint_grpo.machine.errors import UserError
from hint_grpo.toy import models

BASE = Base(0)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """Base models in place, so that nothing is warmed up."""
    one = Study(tmp_path_factory.mktemp("evidence"), "test", num_measured=6, num_questions=8, scales=(0.0, 0.8))
    models.write_folder(models.warmed_up_model("Qwen2.5-VL"), "Qwen2.5-VL", one.base(BASE))
    return one


@pytest.fixture(scope="module")
def experiments(study) -> dict[str, Experiment]:
    """Two pairs of runs for a, one for e with the checkpoint halfway; three steps each. All jobs are done."""
    long = tuple(Run(BASE, "long", method, seed) for seed in (1, 2) for method in (HINTS, PLAIN))
    cue = tuple(Run(BASE, "cue", method, 1) for method in (HINTS, PLAIN))
    halfway = tuple(Measurement(run, "cue", halfway=True) for run in cue)
    small = {
        "a": Experiment(long, tuple(measurements_of(long))),
        "e": Experiment(cue, (*measurements_of(cue), *halfway), tuple(Evaluation(BASE, cue) for cue in protocol.CUES)),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(protocol.TRAINING, "max_steps", 3)
        patch.setattr(protocol, "HALFWAY", 2)
        patch.setattr(protocol, "NUM_TRAIN_TASKS", 12)
        for one in small.values():
            run_all(study, one, print)
        yield small


def test_every_number_is_saved_with_its_settings(study, experiments, capsys):
    write_report(Results(study), experiments)
    draw(Results(study), experiments, study.root / "figures")
    printed = capsys.readouterr().out
    assert (study.root / "tables.md").read_text() in printed
    summary = json.loads((study.root / "summary.json").read_text())
    runs = summary["experiments"]["a"]["runs"]
    assert {(run["method"], run["seed"]) for run in runs} == {(m, s) for m in (HINTS, PLAIN) for s in (1, 2)}
    assert all(run["tokens_per_step"] > 0 and 0 <= run["utilization"] <= 1 for run in runs)
    assert summary["training"]["max_steps"] == 3
    measured = summary["experiments"]["a"]["measurements"]
    assert measured[0]["model"] == BASE.name
    assert len(measured) == 5
    assert set(summary["experiments"]["e"]["evaluations"][0]["accuracy_by_scale"]) == {"0.0", "0.8"}
    for name in ("a_two_methods", "e_scales"):
        for ending in ("png", "svg", "csv"):
            assert (study.root / "figures" / f"{name}.{ending}").stat().st_size > 100


def test_tables_show_what_the_files_hold(study, experiments):
    results = Results(study)
    run = experiments["a"].runs[0]
    (sets,) = json.loads(study.measurement(Measurement(run, "long")).read_text()).values()
    rate = sets["long"]["level_0"]
    assert results.rate(run, "long", "long", "level_0") == rate["per_sample"] == sum(rate["num_right_B"]) / (6 * 4)
    accuracy, (low, high) = results.accuracy(experiments["e"].evaluations[0], 0.8)
    assert low <= accuracy <= high


def test_what_is_finished_is_kept_and_what_is_missing_is_made(study, experiments):
    kept = study.measurement(Measurement(experiments["a"].runs[0], "long"))
    missing = study.measurement(Measurement(experiments["a"].runs[1], "long"))
    before = kept.stat().st_mtime_ns
    old = missing.read_text()
    missing.unlink()
    lines: list[str] = []
    start = time.time()
    run_all(study, experiments["a"], lines.append)
    assert len(lines) == 1
    assert missing.stem in lines[0]
    assert missing.read_text() == old  # the same seed and tasks give the same rates
    assert kept.stat().st_mtime_ns == before
    assert missing.stat().st_mtime >= start - 1


def test_a_folder_holds_one_protocol(study, experiments):
    other = Study(study.root, "another stream", study.num_measured, study.num_questions, study.scales)
    with pytest.raises(UserError, match="another protocol or stream: give another --output_dir"):
        jobs.check_protocol(other)
