"""report.html in headless Chromium: no errors, no requests, filters, search and keys work, all pictures are drawn."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from made_runs import EVIL

from hint_grpo.report.__main__ import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium")
# What the browser itself asks for at its start; no name is resolved.
BROWSERS_OWN = ("google.com", "googleapis.com", "gvt1.com", "gstatic.com")


class Opened:
    """A page after its scripts have run: the DOM as text, messages of the console, URLs that were requested."""

    def __init__(self, path: Path, view: str, tmp_path: Path) -> None:
        net_log = tmp_path / "net.json"
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += [
            "--disable-background-networking",
            "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ]
        command += [f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={net_log}", "--enable-logging=stderr"]
        command += ["--virtual-time-budget=3000", "--dump-dom", f"{path.as_uri()}{view}"]
        environment = os.environ | {"HOME": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        self.dom = done.stdout
        self.console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        urls = set(re.findall(r'"url":"([^"]*)"', net_log.read_text(encoding="utf-8")))
        self.requests = {url for url in urls if not (urlsplit(url).hostname or "").endswith(BROWSERS_OWN)}

    @property
    def count(self) -> str:
        return re.search(r'id="count">([^<]*)<', self.dom)[1]

    @property
    def shown(self) -> list[str]:
        return [f"{step} {sample}" for step, sample in re.findall(r"<b>Step (\d+)</b><a [^>]*>([^<]*)</a>", self.dom)]

    def check(self) -> "Opened":
        assert self.console == []
        assert self.requests <= {""} | {url for url in self.requests if url.startswith(("file:", "data:"))}
        return self


@pytest.fixture
def opened(tmp_path):
    return lambda path, view="": Opened(path, view, tmp_path)


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


def test_keys(make_run, opened, tmp_path):
    """A copy without the security policy, with a script that presses keys."""
    text = report_of(make_run()).read_text(encoding="utf-8")
    keys = ["j", "j", "ArrowRight", "k", "?"]
    presses = "".join(
        f"document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}));" for key in keys
    )
    text = without_policy(text).replace("</body>", f"<script>{presses}</script></body>")
    path = tmp_path / "pressed.html"
    path.write_text(text, encoding="utf-8")
    page = opened(path).check()
    # The first j goes to the first card, the second to the next one.
    (current,) = re.findall(r'class="card current"><header><b>Step (\d+)</b><a [^>]*>([^<]*)<', page.dom)
    assert current == ("1", "hard")
    assert '<dialog id="help" open="">' in page.dom


@pytest.mark.parametrize("has_policy", [True, False])
def test_a_script_in_a_completion_does_nothing(make_run, opened, has_policy):
    """Because it is escaped, even in a browser that ignores the page's security policy."""
    path = report_of(make_run(hard_changes=dict.fromkeys(("completion", "hint", "question", "answer", "id"), EVIL)))
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
    assert json.dumps(page.console).count("boom") == 1
