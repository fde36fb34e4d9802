"""Answers on disk: torn lines, changed conditions, and what is reused."""

import json
from pathlib import Path

import pytest

from hint_grpo.evaluation.results import Result, read_results, result_line
from hint_grpo.evaluation.store import SET_ASIDE_FILE, Conditions, ResultStore
from hint_grpo.machine.errors import UserError


def result(id: str, completion: str = "<think>a</think><answer>4</answer>") -> Result:
    return Result(id, f"{id}.png", f"question {id}", "4", completion, "4", True, True, 7, "stop")


def conditions(keys: dict[str, str], weights: str = "w1") -> Conditions:
    return Conditions({"weights": weights, "scale": 0.8}, keys)


def filled(folder: Path, given: Conditions, ids: str) -> None:
    store = ResultStore(folder)
    store.begin(given)
    store.start({})
    for id in ids:
        store.append(result(id))
    store.close()


def test_a_result_survives_the_file(tmp_path: Path) -> None:
    odd = result("x", "line\u2028separator\r\n\u0085 next\t\U0001f600 \x00 end")
    (tmp_path / "results.jsonl").write_text(result_line(odd), encoding="utf-8", newline="")
    assert read_results(tmp_path / "results.jsonl") == {"x": odd}


@pytest.mark.parametrize("cut", [1, 2, 60, len(result_line(result("2"))) - 1, len(result_line(result("2")))])
def test_a_torn_last_line_costs_that_line_only(tmp_path: Path, cut: int) -> None:
    given = conditions({"0": "k0", "1": "k1", "2": "k2"})
    filled(tmp_path, given, "012")
    path = tmp_path / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    store = ResultStore(tmp_path)
    kept = store.begin(given)
    assert list(kept) == ["0", "1"]
    store.start({id: result(id) for id in kept})
    store.append(result("2"))
    store.close()
    assert list(read_results(path)) == ["0", "1", "2"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.begin(conditions({"0": "k0"}))
    store.start({})
    store._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115
    with pytest.raises(UserError, match=r"cannot be written .* run the same command again"):
        store.append(result("0"))
    store._file.close()


def test_the_final_file_is_in_question_order_with_each_id_once(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.begin(conditions({"0": "k0", "1": "k1", "2": "k2"}))
    store.start({})
    for id in "2011":
        store.append(result(id))
    store.finish([result(id) for id in "012"])
    lines = store.results_path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["0", "1", "2"]


def test_other_weights_reuse_nothing_and_say_so(tmp_path: Path) -> None:
    filled(tmp_path, conditions({"0": "a0", "1": "a1"}), "01")
    store = ResultStore(tmp_path)
    assert store.begin(conditions({"0": "b0", "1": "b1"}, weights="w2")) == {}
    assert store.changes == ("weights",)
    assert read_results(store.results_path) == {}


def test_one_changed_picture_costs_one_answer(tmp_path: Path) -> None:
    filled(tmp_path, conditions({"0": "k0", "1": "k1", "2": "k2"}), "012")
    store = ResultStore(tmp_path)
    assert list(store.begin(conditions({"0": "k0", "1": "new", "2": "k2"}))) == ["0", "2"]
    assert store.changes == ("questions or images",)


def test_answers_of_other_conditions_are_kept_aside_and_come_back(tmp_path: Path) -> None:
    first, second = conditions({"0": "a0", "1": "a1"}), conditions({"0": "b0", "1": "b1"}, weights="w2")
    filled(tmp_path, first, "01")
    filled(tmp_path, second, "0")
    store = ResultStore(tmp_path)
    assert store.begin(first) == {id: result(id).given for id in "01"}
    store.start({id: result(id) for id in "01"})
    store.close()
    assert list(ResultStore(tmp_path).begin(second)) == ["0"]


def test_a_shorter_run_loses_nothing_of_a_longer_one(tmp_path: Path) -> None:
    long, short = conditions({"0": "k0", "1": "k1", "2": "k2"}), conditions({"0": "k0"})
    filled(tmp_path, long, "012")
    store = ResultStore(tmp_path)
    store.start({id: result(id) for id in store.begin(short)})
    store.finish([result("0")])
    assert list(read_results(store.results_path)) == ["0"]
    assert list(ResultStore(tmp_path).begin(long)) == ["0", "1", "2"]


def test_a_renumbered_question_keeps_its_answer(tmp_path: Path) -> None:
    """A line put in at the top of the question file moves every id; the keys still find the answers."""
    filled(tmp_path, conditions({"0": "k0", "1": "k1"}), "01")
    assert list(ResultStore(tmp_path).begin(conditions({"0": "new", "1": "k0", "2": "k1"}))) == ["1", "2"]


@pytest.mark.parametrize("step", ["set aside", "results removed", "cache replaced"])
def test_a_kill_while_conditions_change_never_pairs_an_answer_with_a_foreign_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first, second = conditions({"0": "a0", "1": "a1"}), conditions({"0": "b0", "1": "b1"}, weights="w2")
    filled(tmp_path, first, "01")
    store = ResultStore(tmp_path)
    _killed_after(store, second, step, monkeypatch)
    monkeypatch.undo()
    assert ResultStore(tmp_path).begin(second) == {}
    assert list(ResultStore(tmp_path).begin(first)) == ["0", "1"]


def _killed_after(store: ResultStore, given: Conditions, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(Exception):
        pass

    import hint_grpo.evaluation.store as module

    whole = module.replace_file

    def replace_file(path: Path, text: str) -> None:
        if step == "results removed" and path.name == module.CACHE_FILE:
            raise KilledError
        whole(path, text)
        if (path.name, step) in ((SET_ASIDE_FILE, "set aside"), (module.CACHE_FILE, "cache replaced")):
            raise KilledError

    monkeypatch.setattr(module, "replace_file", replace_file)
    with pytest.raises(KilledError):
        store.begin(given)
