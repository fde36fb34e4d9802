"""The protocol as values: which runs an experiment has, and that experiments share them."""

from eval.evidence import protocol
from eval.evidence.protocol import EXPERIMENTS, GLANCES, HINTS, PLAIN, Base, Run, Seeds, experiment

SEEDS = Seeds((1, 2, 3, 4, 5), (7, 8))


def test_every_pair_of_base_model_and_seed_has_both_methods():
    pairs = {
        "a": {(base, seed) for base in (7, 8) for seed in range(1, 6)},
        "b": {(7, 1), (8, 2), (7, 3), (8, 4), (7, 5)},
    }
    for letter, expected in pairs.items():
        runs = experiment(letter, SEEDS).runs
        for method in (HINTS, PLAIN):
            assert {(run.base.warmup_seed, run.seed) for run in runs if run.method == method} == expected
        assert len(runs) == 2 * len(expected)


def test_experiments_share_runs():
    """Names are made of settings alone, so the main runs are trained once."""
    a, c, d = (set(experiment(letter, SEEDS).runs) for letter in "acd")
    assert Run(Base(7), "long", HINTS, 1) in a & c & d
    assert len(a & d) == 2 * protocol.NUM_ABLATION_SEEDS
    assert len(c) == 2 * protocol.NUM_ABLATION_SEEDS * len(GLANCES)


def test_names_are_unique_and_are_file_names():
    for letter in EXPERIMENTS:
        one = experiment(letter, SEEDS)
        for values in (one.runs, one.measurements, one.evaluations):
            names = [value.name for value in values]
            assert len(set(names)) == len(names)
            assert all(
                set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") for name in names
            )


def test_every_run_is_measured_and_so_is_its_base_model():
    for letter in EXPERIMENTS:
        one = experiment(letter, SEEDS)
        measured = {(measurement.model, measurement.tasks) for measurement in one.measurements}
        for run in one.runs:
            assert {(run, run.tasks), (run.base, run.tasks)} <= measured


def test_base_models_of_experiment_c_cover_the_rates():
    """Six discs, each read with probability 1 - glance: 0, 0.1, 1, 5, 20 and 40 %."""
    rates = [(1 - glance) ** 6 for glance in GLANCES]
    for rate, wanted in zip(rates, (0.0, 0.001, 0.01, 0.05, 0.2, 0.4), strict=True):
        assert abs(rate - wanted) < max(0.0002, 0.06 * wanted)


def test_methods_are_recipes_of_the_paper_s_table(repository):
    for method in (HINTS, PLAIN, *protocol.ABLATIONS):
        assert (repository / "eval" / "recipes" / f"{method}.yaml").is_file()
        assert method in protocol.LABELS
