"""The pages of `python -m hint_grpo.report`: what they show, what they leave out and say so, escaping, mistakes of the user."""

import base64
import gzip
import io
import json
import os
import re
import subprocess
import sys

import pytest
from made_runs import EVIL
from PIL import Image

from hint_grpo.machine.errors import UserError
from hint_grpo.report.__main__ import main
from hint_grpo.report.cards import LIMITS, Limits, read_cards
from hint_grpo.report.data import read_run
from hint_grpo.report.page import run_page
from hint_grpo.report.page_files import PageFiles

IN_FILES = Limits(embedded_text=0, embedded_pictures=0)


def page_of(folder):
    assert main([str(folder)]) == 0
    return (folder / "report.html").read_text(encoding="utf-8")


def data_of(page):
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    return json.loads(found)


def cards_of(folder, limits=LIMITS):
    return read_cards(folder, PageFiles(folder), limits)


def large_page_of(folder, limits=IN_FILES):
    """A page with its cards and pictures in files, as a run of millions of characters gets it."""
    files = PageFiles(folder)
    path = files.write_page("report.html", run_page(read_run(folder), files, limits))
    return path.read_text(encoding="utf-8")


def cards_in_files(folder, data):
    """All cards of a large page, put together as its script does."""
    rest = []
    for name in data["files"]:
        text = (folder / data["folder"] / name).read_text(encoding="utf-8")
        start, end = f'hintGrpoCards("{name}", ', ")\n"
        assert text.startswith(start)
        assert text.endswith(end)
        rest += json.loads(text.removeprefix(start).removesuffix(end))
    index = [dict(zip(data["index"], values, strict=True)) for values in zip(*data["index"].values(), strict=True)]
    return [known | more for known, more in zip(index, rest, strict=True)]


def table_of(page):
    rows = re.findall(r"<tr><th>(.*?)</th>(.*?)</tr>", page)
    return {name: re.findall(r"<td>(.*?)</td>", cells) for name, cells in rows}


def test_the_top_says_what_the_run_is(make_run, capsys):
    folder = make_run()
    page = page_of(folder)
    assert capsys.readouterr().out == f"{folder}/report.html\n"
    facts = dict(re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", page))
    assert facts["model"] == "/models/Toy-VL"
    assert facts["data"] == "LLaVA-CoT-100k"
    assert facts["settings"] == "preset default: this project&#39;s own settings"
    assert facts["hints"] == "adaptive, M = 3, answer injection"
    assert facts["seed"] == "7"
    assert facts["steps"] == "12 of 12"
    assert facts["prompts"] == "24 in the ledger, 2 per step"
    assert facts["duration"].startswith("1 h 7 min")
    assert facts["versions"] == "torch 2.0, trl 1.0"
    assert facts["machine"] == "Toy CPU, 2 cores, 8 GiB of memory, 1 x Toy GPU"


def test_every_number_of_the_final_values(make_run):
    # The last 10 of 12 steps, 3 to 12: `hard` fails at steps 4, 8 and 12. Utilisation: 7 steps with 1, 3 with 0.5.
    table = table_of(page_of(make_run()))
    assert table["data utilisation"] == ["0.850 ± 0.173"]
    assert table["data utilisation at level 0 alone"] == ["0.500 ± 0.000"]
    assert table["reward at level 0"] == ["0.250 ± 0.000"]
    assert table["share of prompts never correct"] == ["0.150 ± 0.173"]
    assert table["mean hint level"] == ["0.350 ± 0.173"]
    assert table["log-probability gap"] == ["0.010 ± 0.000"]
    assert table["seconds per step"] == ["3.000 ± 0.000"]  # scoring is not added: it runs beside the generation


def test_health(make_run):
    page = page_of(make_run())
    assert '<li class="fine">The run is finished.</li>' in page
    assert '<li class="fine">85% of the prompts contribute to the training (data utilisation).</li>' in page
    assert '<li class="fine">The log-probability gap is 0.01; --max_logp_gap is 0.05.</li>' in page
    assert page.count("<figcaption>") == page.count('role="img"') == 6
    assert page.count("2 prompts per step.") == 6

    folder = make_run("bad", finished=False)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for entry in log:
        entry |= {"sampling/sampling_logp_difference/mean": 0.2, "completions/clipped_ratio": 0.75}
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log) + '{"step": 13, "lo')
    page = page_of(folder)
    assert '<li class="attention">The run is not finished.</li>' in page
    assert '<li class="attention">The log-probability gap is 0.2; --max_logp_gap is 0.05.</li>' in page
    assert '<li class="attention">75% of the completions are cut off by --max_completion_length.</li>' in page


def test_every_prompt_has_a_card(make_run):
    data = data_of(page_of(make_run()))
    assert [(card["step"], card["id"]) for card in data["cards"]] == [
        (step, sample) for step in range(1, 13) for sample in ("easy", "hard")
    ]
    assert [card["state"] for card in data["cards"][:8]] == ["unaided", "hinted"] * 3 + ["unaided", "never"]
    hard = data["cards"][1]
    assert (hard["chosen"], hard["hint_steps"], hard["num_steps"], hard["hint_tokens"]) == (1, 1, 3, 4)
    assert [(level["level"], level["hint"], len(level["completions"])) for level in hard["levels"]] == [
        (0, "", 2),
        (1, "AB = AC.", 2),
    ]
    assert hard["levels"][1]["completions"][0] == {
        "text": "so</think><answer>65°</answer>",
        "answer": "65°",
        "verdict": "right",
        "finish": "stop",
        "tokens": 9,
        "rewards": {"accuracy": 1.0},
        "advantage": 0.5,
    }
    assert hard["levels"][0]["completions"][0]["advantage"] is None


def test_pictures_are_embedded_once_and_scaled(make_run):
    pictures = data_of(page_of(make_run()))["pictures"]
    assert [picture["path"].rpartition("/")[2] for picture in pictures] == ["easy.png", "hard.png"]
    for picture in pictures:
        kind, _, content = picture["src"].partition(";base64,")
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        assert kind == f"data:image/{image.format.lower()}"
        assert image.size == (224, 150)


def test_missing_and_broken_pictures_are_named(make_run):
    folder = make_run()
    (folder / "easy.png").unlink()
    (folder / "hard.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    page = page_of(folder)
    easy, hard = data_of(page)["pictures"]
    assert easy == {"path": f"{folder}/easy.png", "src": None, "reason": easy["reason"]}
    assert easy["reason"]
    assert "Git LFS" in hard["reason"]
    assert "2 of 2 pictures could not be read" in page


def test_limits_hold_and_are_stated(make_run):
    folder = make_run(steps=50)
    found = cards_of(folder, Limits(cards=10))
    assert [card["step"] for card in found.data["cards"]] == [1, 6, 11, 16, 21, 26, 31, 36, 41, 46]
    assert (found.count, found.steps, found.levels) == (10, (1, 46), [0])
    assert found.notes[0].startswith("The page has 10 of the 100 stored prompts, evenly spaced over the steps; filters")
    assert cards_of(folder, Limits(text=20_000)).count < 30
    small = cards_of(folder, Limits(picture_bytes=100))
    assert [picture["src"] for picture in small.data["pictures"]] == [None, None]
    assert "2 of 2 pictures are left out" in small.notes[0]
    assert not cards_of(folder).notes
    (folder / "rollouts" / "left_out.json").write_text('{"from_step": 51, "reason": "--max_rollouts_mb 1 is reached"}')
    assert cards_of(folder).notes == ["The run itself stored less than it sampled: --max_rollouts_mb 1 is reached."]


def test_a_large_page_has_its_cards_in_files(make_run):
    """Nothing is lost: the files and the index together are the cards of a small page."""
    folder = make_run(steps=120, hard_changes={"completion": EVIL, "question": EVIL, "hint": EVIL})
    small = data_of(page_of(folder))
    page = large_page_of(folder)
    data = data_of(page)
    assert len(data["files"]) == 3  # of 100 cards
    assert "cards" not in data
    assert EVIL not in page
    assert all("<" not in (folder / "report_data" / name).read_text() for name in data["files"])
    cards = cards_in_files(folder, data)
    assert len(cards) == 240
    assert cards == small["cards"]
    assert "The prompts and pictures are in the folder report_data beside this page" in page
    assert "'strict-dynamic'" in page
    assert "strict-dynamic" not in page_of(folder)


def test_the_files_of_pictures(make_run):
    folder = make_run()
    data = data_of(large_page_of(folder))
    for picture in data["pictures"]:
        file = folder / picture["src"]
        assert file.parent == folder / "report_data"
        assert Image.open(file).size == (224, 150)
    easy, hard = (folder / picture["src"] for picture in data["pictures"])
    assert Image.open(easy).getpixel((0, 0)) == (255, 0, 0)
    assert Image.open(hard).getpixel((0, 0)) == (0, 0, 255)
    easy.write_bytes(b"kept")
    assert data_of(large_page_of(folder))["pictures"] == data["pictures"]
    assert easy.read_bytes() == b"kept"  # an unchanged picture is not scaled again
    Image.new("RGB", (40, 40), "green").save(folder / "easy.png")
    changed, _ = data_of(large_page_of(folder))["pictures"]
    assert Image.open(folder / changed["src"]).size == (40, 40)
    (folder / "hard.png").unlink()
    assert data_of(large_page_of(folder))["pictures"][1]["reason"] == "No such file or directory"
    assert data_of(large_page_of(folder, Limits(embedded_pictures=0, picture_bytes=10)))["pictures"][0]["src"] is None


def test_a_page_that_is_written_again_keeps_unchanged_files_and_removes_old_ones(make_run):
    folder = make_run(steps=75)  # 150 cards: a full file, and one that grows
    full, partial = data_of(large_page_of(folder))["files"]
    other = folder / "report_data" / "mine.txt"
    other.write_text("a user's file")
    content = (folder / "report_data" / full).read_bytes()
    (folder / "report_data" / full).write_bytes(content + b"// not written again")
    rows = gzip.decompress((folder / "rollouts" / "steps-000001.jsonl.gz").read_bytes()).splitlines()
    with gzip.open(folder / "rollouts" / "steps-000101.jsonl.gz", "wt") as file:
        file.write(json.dumps(json.loads(rows[0]) | {"step": 101}) + "\n")
    again, grown = data_of(large_page_of(folder))["files"]
    assert again == full
    assert (folder / "report_data" / full).read_bytes() == content + b"// not written again"
    assert grown != partial
    # Another process could be writing a page with the old file just now.
    assert (folder / "report_data" / partial).exists()
    for file in (folder / "report_data").iterdir():
        os.utime(file, (0, 0))
    large_page_of(folder)
    assert not (folder / "report_data" / partial).exists()
    assert {file.name for file in (folder / "report_data").glob("cards-*")} == {full, grown}
    assert other.exists()


def test_levels_that_were_not_stored_show_their_rewards(make_run):
    folder = make_run(steps=1)
    path = folder / "rollouts" / "steps-000001.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows if row["trained"])
    with (folder / "train_config.yaml").open("a") as config:
        config.write("keep_rollouts: trained\n")
    page = page_of(folder)
    hard = data_of(page)["cards"][1]
    assert hard["levels"][0] == {"level": 0, "hint": None, "rewards": [0.0, 0.0], "completions": []}
    assert len(hard["levels"][1]["completions"]) == 2
    assert "--keep_rollouts trained" in page


def test_a_sample_that_occurs_twice_in_a_step_has_two_cards(make_run):
    folder = make_run(steps=1)
    path = folder / "rollouts" / "steps-000001.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    with gzip.open(path, "wt") as file:
        file.writelines(lines[:2] * 2)
    assert [card["id"] for card in cards_of(folder).data["cards"]] == ["easy", "easy"]


def test_text_of_models_and_data_stays_text(make_run):
    folder = make_run("<b>run", hard_changes={"completion": EVIL, "hint": EVIL, "question": EVIL, "answer": EVIL})
    config = (folder / "train_config.yaml").read_text().replace("/models/Toy-VL", "'<script>alert(1)</script>'")
    (folder / "train_config.yaml").write_text(config)
    page = page_of(folder)
    assert "<title>&lt;b&gt;run" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<script") == page.count("</script>") == 2  # the data block and the page's own
    assert "<b>" not in page.replace("</b>", "")
    assert data_of(page)["cards"][1]["levels"][1]["completions"][0]["text"] == EVIL


def test_lone_surrogates_and_numbers_that_json_lacks(make_run):
    folder = make_run(steps=1, hard_changes={"completion": "\ud800", "advantage": float("nan")})
    completion = data_of(page_of(folder))["cards"][1]["levels"][1]["completions"][0]
    assert (completion["text"], completion["advantage"]) == ("?", None)


def test_the_page_refers_to_nothing_outside(make_run):
    page = page_of(make_run())
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data:,"]
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_a_run_without_rollouts_has_the_top_and_says_why(make_run):
    page = page_of(make_run(rollouts=False))
    assert "The run stored no completions (rollouts/ is missing)" in page
    assert page.count('role="img"') == 6
    assert 'id="data"' not in page


def test_a_ledger_alone_is_enough(make_run):
    folder = make_run(rollouts=False)
    for name in ("log.jsonl", "train_config.yaml", "README.md", "trainer_state.json"):
        (folder / name).unlink()
    page = page_of(folder)
    assert table_of(page)["data utilisation"] == ["0.850 ± 0.173"]
    assert page.count("not measured") == 2  # the log-probability gap and the stage times


def test_several_runs(make_run, capsys):
    first, second = make_run("a/seed-1"), make_run("b/seed-1", steps=3)
    assert main([str(first), str(second)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"{first}/report.html", f"{second}/report.html", f"{first}/comparison.html"]
    page = (first / "comparison.html").read_text(encoding="utf-8")
    assert table_of(page)["data utilisation"] == ["0.850 ± 0.173", "1.000 ± 0.000 (3 steps)"]
    assert "95 % interval over these steps" in page
    for svg in re.findall(r'<svg viewBox="0 0 360.*?</svg>', page):
        assert re.findall(r"<title>(.*?)</title>", svg)[-2:] == ["a/seed-1", "b/seed-1"]
    assert re.findall(r'<a href="([^"]*)"', page) == ["report.html", "../../b/seed-1/report.html"]
    assert re.search(r'<tr class="differs"><th>steps</th><td>12 of 12</td><td>3 of 3</td></tr>', page)


@pytest.mark.parametrize("what", ["missing", "a file", "no ledger", "an empty ledger"])
def test_mistakes_are_one_line(make_run, tmp_path, what):
    good, bad = make_run(), tmp_path / "bad"
    if what == "a file":
        bad.write_text("")
    elif what != "missing":
        bad.mkdir()
        if what == "an empty ledger":
            (bad / "hint_ledger.jsonl").write_text("")
    with pytest.raises(UserError, match="bad"):
        main([str(good), str(bad)])
    assert not (good / "report.html").exists()  # nothing is written before all folders are read


def test_a_page_that_cannot_be_written_is_a_mistake(make_run):
    folder = make_run(steps=1)
    (folder / "report.html").mkdir()
    with pytest.raises(UserError, match=r"report\.html cannot be written: Is a directory"):
        main([str(folder)])
    (folder / "report_data").write_text("")
    with pytest.raises(UserError, match=r"report_data/picture-\w+\.png cannot be written: "):
        large_page_of(folder)


def test_the_command_exits_with_2_and_imports_nothing_heavy(tmp_path):
    command = [sys.executable, "-m", "hint_grpo.report", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    heavy = ("torch", "transformers", "matplotlib")
    code = f"import sys, hint_grpo.report.__main__; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
