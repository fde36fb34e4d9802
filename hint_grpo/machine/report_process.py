"""Writes a run's page (`python -m hint_grpo.report FOLDER`) in a child process, for the commands that make the runs.

A page may cost a run neither its exit code nor its memory, whatever its folder contains. So it is made by another process, and a
failure is one line of warning. This is also why `training` and `evaluation`, which `report` imports, need not import it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from hint_grpo.machine.processes import child_environment

REPORT_NAME = "report.html"
TIMEOUT_S = 900.0
"""How long a command waits for its page at its end. 100,000 completions take less than half a minute."""


class ReportProcess:
    """Writes and rewrites FOLDER/report.html; at most one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def start(self) -> None:
        """Begins to write the page and returns; does nothing while an earlier one is still being written."""
        if self._process is not None and self._process.poll() is None:
            return
        self._end()
        command = [sys.executable, "-P", "-m", "hint_grpo.report", str(self.folder)]
        try:
            # A pipe would block a child that prints much.
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115
            self._process = subprocess.Popen(
                command,
                env=child_environment({}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=True,  # Ctrl-C is meant for the run
            )
        except OSError as error:
            self._warn(str(error))

    def finish(self) -> Path | None:
        """Waits for the page that is being written and returns its path, or None if it could not be written."""
        return self.folder / REPORT_NAME if self._end() else None

    def stop(self) -> None:
        """Ends the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _end(self) -> bool:
        """Waits for the process, if there is one. False, after a line of warning, if it failed."""
        if self._process is None:
            return False
        try:
            code = self._process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._warn(f"it took more than {TIMEOUT_S:.0f} s")
            return False
        finally:
            self.stop()  # also after Ctrl-C
        if code:
            self._warn(self._last_line().removeprefix("error: ") or f"exit code {code}")
        return code == 0

    def _last_line(self) -> str:
        """What the child said last: its error in one line, or the end of a traceback."""
        assert self._errors is not None
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def _warn(self, reason: str) -> None:
        print(
            f"warning: {self.folder / REPORT_NAME} was not written: {reason} (to try again: python -m hint_grpo.report "
            f"{self.folder})",
            file=sys.stderr,
            flush=True,
        )


def write_report(folder: Path) -> Path | None:
    """Writes FOLDER/report.html and returns its path; None, after one line of warning, if that is not possible."""
    process = ReportProcess(folder)
    process.start()
    return process.finish()
