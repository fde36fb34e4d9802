"""Headless Chromium, driven by the DevTools protocol over a pair of pipes: opens a page, presses keys, evaluates JavaScript.

Shared by benchmarks/report_page.py and tests/report/test_in_a_browser.py. It needs Debian's package chromium.
"""

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

TIMEOUT_S = 120
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no name is resolved
    "--window-size=1280,900",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """The browser's command, or None if it is not installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Chromium:
    """One browser with an empty profile and one page. Use it in a `with` block."""

    def __init__(self, profile: Path, flags: Sequence[str] = (), stderr: IO[str] | int = subprocess.DEVNULL) -> None:
        chromium = find_chromium()
        if chromium is None:
            raise FileNotFoundError("no Chromium: apt-get install chromium")
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        words = [chromium, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
        # Chromium reads commands from descriptor 3 and writes answers to descriptor 4.
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {shlex.join(words)} 3<&{commands} 4>&{answers}"],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=os.environ | {"HOME": str(profile)},
        )
        os.close(commands)
        os.close(answers)
        self._rest, self._number, self._session = b"", 0, ""
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the browser; kills it if it does not answer."""
        try:
            self._send("Browser.close")
            self.process.wait(30)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        finally:
            os.close(self._read)
            os.close(self._write)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command of the DevTools protocol and returns its result."""
        self._send(method, **parameters)
        while True:
            while b"\0" not in self._rest:
                more = os.read(self._read, 2**20)
                if not more:
                    raise EOFError("the browser has ended")
                self._rest += more
            text, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _send(self, method: str, **parameters: Any) -> None:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session and not method.startswith("Browser."):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression; of a promise, what it resolves to."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)[
            "result"
        ].get("value")

    def wait_until(self, condition: str) -> None:
        """Waits until a JavaScript expression is true."""
        end = time.monotonic() + TIMEOUT_S
        while not self.value(condition):
            if time.monotonic() > end:
                raise TimeoutError(condition)
            time.sleep(0.005)

    def open(self, page: Path, view: str = "") -> None:
        """Opens a report and waits until its cards, if it has any, are shown and their pictures loaded."""
        address = page.as_uri()
        self.call("Page.navigate", url=address + view)
        self.wait_until(f"location.href.startsWith({json.dumps(address)}) && document.readyState === 'complete'")
        self.settle()

    def settle(self) -> None:
        """Waits until the page shows what it was asked for."""
        self.value("new Promise((done) => setTimeout(done, 20))")  # events that are under way
        self.wait_until(
            "(document.getElementById('cards') || document.body).getAttribute('aria-busy') !== 'true' "
            "&& [...document.images].every((image) => image.complete)"
        )

    def press(self, key: str) -> None:
        """Presses a key, named as in KeyboardEvent.key, and waits for its effect."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key)
        self.settle()
