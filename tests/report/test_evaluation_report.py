"""The page of evaluations: accuracies, paired tests, answers side by side with disagreements first."""

import re
import shutil

import pytest
from made_runs import EVIL
from test_report import cards_in_files, data_of

from hint_grpo.machine.errors import UserError
from hint_grpo.report.__main__ import main
from hint_grpo.report.cards import Limits
from hint_grpo.report.evaluation import evaluation_page, read_evaluations
from hint_grpo.report.page_files import PageFiles


def page_of(*folders):
    assert main([str(folder) for folder in folders]) == 0
    return (folders[0] / "report.html").read_text(encoding="utf-8")


def test_accuracies_tests_and_the_chart(make_scale):
    make_scale("eval", 0.0, "rwwp")
    page = page_of(make_scale("eval", 0.8, "rrrr"))
    rows = {
        name: re.findall("<td>(.*?)</td>", cells) for name, cells in re.findall(r"<tr><th>(.*?)</th>(.*?)</tr>", page)
    }
    assert rows["scale-0.0"] == ["4", "50.0 (15.0 to 85.0)", "25.0 (4.6 to 69.9)", "0", "2"]
    assert rows["scale-0.8"] == ["4", "100.0 (51.0 to 100.0)", "100.0 (51.0 to 100.0)", "0", "0"]
    tests = re.findall(r"<li>(.*?)</li>", page)
    assert tests[0] == (
        "scale-0.8 against scale-0.0, paper protocol: +50.0 points over 4 questions; right only in scale-0.8 2, only in "
        "scale-0.0 0; McNemar&#39;s exact test p = 0.5"
    )
    assert "+75.0 points" in tests[1]
    assert page.count('role="img"') == 1
    assert "<dd>/models/Toy-VL</dd>" in page
    assert "<dd>Toy CPU, 2 cores</dd>" in page


def test_answers_stand_side_by_side_and_disagreements_first(make_scale):
    make_scale("eval", 0.0, "rwpw")
    folder = make_scale("eval", 0.8, "rwpr")
    data = data_of(page_of(folder))
    assert [(card["id"][-5], card["state"]) for card in data["cards"]] == [
        ("3", "differs"),
        ("2", "protocols"),
        ("0", "right"),
        ("1", "wrong"),
    ]
    (level,) = data["cards"][0]["levels"]
    assert [(one["name"], one["verdict"], one["notes"]) for one in level["completions"]] == [
        ("scale-0.0", "different", ["paper ✗, strict ✗"]),
        ("scale-0.8", "right", ["paper ✓, strict ✓"]),
    ]
    assert all(picture["src"] for picture in data["pictures"])


def test_more_than_three_runs_are_in_the_table_and_three_in_the_cards(make_scale):
    for scale in (0.0, 0.4, 0.8):
        make_scale("eval", scale, "rw")
    folder = make_scale("eval", 1.0, "rr")
    page = page_of(folder)
    assert "Answers are shown of the first 3 of 4 runs (scale-0.0, scale-0.4, scale-0.8)." in page
    assert "<th>scale-1.0</th>" in page
    assert len(data_of(page)["cards"][0]["levels"][0]["completions"]) == 3


def test_runs_of_several_folders_and_single_scales(make_scale):
    first, second = make_scale("a", 0.0, "rw"), make_scale("b", 0.0, "wr")
    page = page_of(first, second / "scale-0.0")
    assert "<th>a/scale-0.0</th>" in page
    assert "<th>b/scale-0.0</th>" in page
    assert not (second / "report.html").exists()


def test_other_questions_are_not_compared(make_scale):
    page = page_of(make_scale("a", 0.0, "rw"), make_scale("b", 0.0, "rw", question="Another?"))
    assert "b/scale-0.0 against a/scale-0.0: question ./Geo170K/images/0.png differs between the runs" in page


def test_an_unfinished_evaluation_and_limits(make_scale):
    folder = make_scale("eval", 0.0, "rwpw")
    (folder / "scale-0.0" / "summary.json").unlink()
    page = page_of(folder)
    assert "4 of 4 pictures are missing or left out" in page  # only the summary knows where the data is
    text = evaluation_page(read_evaluations([folder]), "t", PageFiles(folder), Limits(cards=2))
    assert "The page has the first 2 of 4 questions, disagreements first." in text
    assert [card["state"] for card in data_of(text)["cards"]] == ["protocols", "right"]


def test_a_large_evaluation_has_its_questions_in_files(make_scale):
    folder = make_scale("eval", 0.0, "rwpw")
    small = data_of(page_of(folder))
    limits = Limits(embedded_text=0, embedded_pictures=0)
    text = evaluation_page(read_evaluations([folder]), "t", PageFiles(folder), limits)
    assert cards_in_files(folder, data_of(text)) == small["cards"]
    assert "The questions and pictures are in the folder report_data beside this page" in text


def test_text_stays_text(make_scale):
    page = page_of(make_scale("eval", 0.0, "rw", completion=EVIL.replace("{", "{{"), question=EVIL))
    assert page.count("<script") == page.count("</script>") == 2
    assert data_of(page)["cards"][0]["question"] == EVIL


def test_runs_and_evaluations_are_not_mixed(make_scale, make_run, tmp_path):
    evaluation, run = make_scale("eval", 0.0, "rw"), make_run()
    with pytest.raises(UserError, match="give either training runs or evaluations"):
        main([str(run), str(evaluation)])
    shutil.rmtree(evaluation / "scale-0.0")
    with pytest.raises(UserError, match=r"hint_ledger\.jsonl is missing"):
        main([str(evaluation)])
    assert not list(tmp_path.rglob("report.html"))
