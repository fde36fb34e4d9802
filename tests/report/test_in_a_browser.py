"""report.html in headless Chromium: no errors, no requests, filters, search and keys work, all pictures are drawn."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from made_runs import EVIL
from test_report import large_page_of

from benchmarks.chromium import Chromium, find_chromium
from hint_grpo.report.__main__ import main

pytestmark = pytest.mark.skipif(not find_chromium(), reason="no Chromium: apt-get install chromium")
# What the browser itself asks for at its start; no name is resolved.
BROWSERS_OWN = ("google.com", "googleapis.com", "gvt1.com", "gstatic.com")


class Opened:
    """A page after its scripts have run and keys were pressed: the DOM as text, messages of the console, requested URLs."""

    def __init__(self, path: Path, view: str, keys: list[str], tmp_path: Path) -> None:
        net_log, log = tmp_path / "net.json", tmp_path / "stderr.txt"
        flags = [f"--log-net-log={net_log}", "--enable-logging=stderr"]
        with log.open("w") as stderr, Chromium(tmp_path / "profile", flags, stderr) as browser:
            browser.open(path, view)
            for key in keys:
                browser.press(key)
            self.dom = browser.value("document.documentElement.outerHTML")
        self.console = [line for line in log.read_text(encoding="utf-8").splitlines() if ":CONSOLE" in line]
        urls = set(re.findall(r'"url":"([^"]*)"', net_log.read_text(encoding="utf-8")))
        self.requests = {url for url in urls if not (urlsplit(url).hostname or "").endswith(BROWSERS_OWN)}

    @property
    def count(self) -> str:
        return re.search(r'id="count">([^<]*)<', self.dom)[1]

    @property
    def shown(self) -> list[str]:
        return [f"{step} {sample}" for step, sample in re.findall(r"<b>Step (\d+)</b><a [^>]*>([^<]*)</a>", self.dom)]

    @property
    def current(self) -> str:
        ((step, sample),) = re.findall(r'class="card current"><header><b>Step (\d+)</b><a [^>]*>([^<]*)<', self.dom)
        return f"{step} {sample}"

    def check(self) -> "Opened":
        assert self.console == []
        assert self.requests <= {""} | {url for url in self.requests if url.startswith(("file:", "data:", "about:"))}
        return self


@pytest.fixture
def opened(tmp_path):
    return lambda path, view="", keys=(): Opened(path, view, keys, tmp_path)


def report_of(folder: Path) -> Path:
    main([str(folder)])
    return folder / "report.html"


def without_policy(text: str) -> str:
    changed = re.sub(r"<meta http-equiv[^>]*>", "", text)
    assert changed != text
    return changed


def test_the_page_opens_without_errors_and_requests(make_run, opened):
    page = opened(report_of(make_run())).check()
    assert page.count == "24 prompts"
    assert page.shown == [f"{step} {sample}" for step in range(1, 11) for sample in ("easy", "hard")]  # 20 on a page
    assert page.dom.count('class="drawn"') == page.dom.count("<img ") == 20
    assert page.dom.count('class="answer right"') == 10 + 8  # `hard` fails at steps 4 and 8
    assert page.dom.count("✗ different:") == 10 + 20 + 8 + 4  # easy; hard at level 0; hard at level 1; its failed steps


@pytest.mark.parametrize(
    ("view", "count", "shown"),
    [
        ("#level=1&show=hinted&step=7", "1 of 24 prompts", ["7 hard"]),
        ("#show=never", "3 of 24 prompts", ["4 hard", "8 hard", "12 hard"]),
        ("#sample=easy&page=1", "12 of 24 prompts", [f"{step} easy" for step in range(1, 13)]),
        ("#search=ab+%3D+ac&step=2", "1 of 24 prompts", ["2 hard"]),
        ("#search=nothing+like+this", "0 of 24 prompts", []),
        ("#page=2", "24 prompts", ["11 easy", "11 hard", "12 easy", "12 hard"]),
        ("#page=99&step=x", "0 of 24 prompts", []),
    ],
)
def test_filters_search_and_pages_by_the_address(make_run, opened, view, count, shown):
    page = opened(report_of(make_run()), view).check()
    assert (page.count, page.shown) == (count, shown)


@pytest.mark.parametrize("injection", ["answer", "query"])
def test_the_hint_is_marked_where_the_model_saw_it(make_run, opened, injection):
    page = opened(report_of(make_run(injection=injection)), "#step=1&sample=hard").check()
    think = '<span class="tag">&lt;think&gt;</span>'
    if injection == "answer":
        assert page.dom.count(f"{think}<mark>AB = AC.</mark>so") == 2
    else:
        assert 'class="asked">What is x?\nHint: <mark>AB = AC.</mark></p>' in page.dom
        assert page.dom.count(f"{think}so") == 4


def test_keys(make_run, opened):
    page = opened(report_of(make_run()), keys=["j", "j", "ArrowRight", "k", "?"]).check()
    # The first j goes to the first card, the second to the next one.
    assert page.current == "1 hard"
    assert '<dialog id="help" open="">' in page.dom


@pytest.mark.parametrize(
    ("view", "keys", "shown"),
    [
        ("", ["n", "j", "j"], "11 hard"),  # the first j after a key that turns the page goes to its first card
        ("#page=5", ["j", "p", "n", "n"], "51 easy"),  # cards 100 to 120: the second file
        ("#page=5", ["j", *["j"] * 20], "51 easy"),
        ("#page=6", ["k"], "50 hard"),
        ("#page=12", ["n", "j", "j", "s"], "1 hard"),
        ("#step=110", ["Escape"], "1 easy"),
    ],
)
def test_keys_on_a_large_page(make_run, opened, view, keys, shown):
    folder = make_run(steps=120)
    large_page_of(folder)
    page = opened(folder / "report.html", view, keys).check()
    assert page.current == shown


@pytest.mark.parametrize(
    ("view", "count", "shown"),
    [
        ("", "240 prompts", [f"{step} {sample}" for step in range(1, 11) for sample in ("easy", "hard")]),
        ("#page=12", "240 prompts", [f"{step} {sample}" for step in range(111, 121) for sample in ("easy", "hard")]),
        ("#level=1&show=hinted&step=107", "1 of 240 prompts", ["107 hard"]),
        ("#show=never&page=2", "30 of 240 prompts", [f"{step} hard" for step in range(84, 121, 4)]),
        ("#search=ab+%3D+ac&step=102", "1 of 240 prompts", ["102 hard"]),
        ("#search=AB+%3D+AC&page=6", "120 of 240 prompts", [f"{step} hard" for step in range(101, 121)]),
        ("#search=red.png", "0 of 240 prompts", []),
        ("#search=easy.png&page=6", "120 of 240 prompts", [f"{step} easy" for step in range(101, 121)]),
    ],
)
def test_a_large_page_loads_what_it_shows_and_searches(make_run, opened, view, count, shown):
    """Three files of cards, and pictures in files; with the page's security policy."""
    folder = make_run(steps=120)
    large_page_of(folder)
    page = opened(folder / "report.html", view).check()
    assert (page.count, page.shown) == (count, shown)
    assert page.dom.count('class="drawn"') == page.dom.count('src="report_data/picture-') == len(shown)


def test_a_large_page_without_its_files_says_so(make_run, opened):
    folder = make_run(steps=120)
    large_page_of(folder)
    files = sorted((folder / "report_data").glob("cards-*"), key=lambda file: file.stat().st_mtime_ns)
    files[1].unlink()
    page = opened(folder / "report.html", "#page=6")
    assert page.shown == []
    assert page.count == ""
    assert f"report_data/{files[1].name} could not be loaded. If you copied or moved this page, also copy" in page.dom
    assert opened(folder / "report.html", "#search=AB").count == ""  # and not the number of hits in the other files
    assert opened(folder / "report.html").count == "240 prompts"


@pytest.mark.parametrize("is_large", [True, False])
@pytest.mark.parametrize("has_policy", [True, False])
def test_a_script_in_a_completion_does_nothing(make_run, opened, has_policy, is_large):
    """Because it is escaped, even in a browser that ignores the page's security policy."""
    folder = make_run(hard_changes=dict.fromkeys(("completion", "hint", "question", "answer", "id"), EVIL))
    (large_page_of if is_large else report_of)(folder)
    path = folder / "report.html"
    if not has_policy:
        path.write_text(without_policy(path.read_text(encoding="utf-8")), encoding="utf-8")
    page = opened(path).check()
    assert "<title>run · Hint-GRPO</title>" in page.dom
    assert "&lt;script&gt;document.title" in page.dom
    assert '<img src="x"' not in page.dom


def test_missing_pictures_show_their_path(make_run, opened):
    folder = make_run(steps=1)
    (folder / "easy.png").unlink()
    page = opened(report_of(folder)).check()
    assert page.dom.count("<img ") == page.dom.count('class="drawn"') == 1
    assert f"{folder}/easy.png" in page.dom


def test_the_comparison_opens_without_errors(make_run, opened):
    first, second = make_run("one"), make_run("two")
    main([str(first), str(second)])
    assert "two" in opened(first / "comparison.html").check().dom


def test_an_evaluation_opens_without_errors(make_scale, opened):
    make_scale("eval", 0.0, "rwpw")
    path = report_of(make_scale("eval", 0.8, "rwpr"))
    page = opened(path).check()
    assert page.count == "4 questions"
    assert page.dom.count("<img ") == page.dom.count('class="drawn"') == 4
    assert page.dom.count('class="answer right"') == 5
    assert opened(path, "#show=differs&search=65").check().count == "1 of 4 questions"


def test_the_checks_notice_errors_and_requests(opened, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text('<img src="http://pictures.invalid/x.png"><script>console.error("boom")</script>')
    page = opened(path)
    assert len(page.console) == 1
    assert "http://pictures.invalid/x.png" in page.requests
    assert page.console[0].count("boom") == 1
