"""The files of a page: report.html, and beside it report_data/ with the cards and pictures of a large page.

A small page is one file. A large one has what its filters need inside (`INDEX`), and loads the rest when it shows or searches it:

    report_data/cards-3f2a90c14e21b7d0.js       hintGrpoCards("cards-3f2a90c14e21b7d0.js", [{"question": ...}, ...])
    report_data/picture-91d03c7be05f6a12.png

Cards are in scripts, because a page that is opened from disk may load scripts and pictures beside it, but not JSON. Their names
are digests of the content: a page that stays open while the report is written again finds its own files or none, and never
cards of another version. Files that did not change are not written again.
"""

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2.utils import htmlsafe_json_dumps

from hint_grpo.machine.errors import UserError
from hint_grpo.machine.files import replace_file
from hint_grpo.machine.report_process import TIMEOUT_S

Card = dict[str, Any]
FOLDER = "report_data"
PER_FILE = 100
"""Cards in a file: some hundred kilobytes, which a browser loads in about 10 ms."""
INDEX = ("step", "id", "image", "chosen", "state")
"""The keys of a card that a large page has inside."""


class PageFiles:
    """Writes a page and its files to the folder of a run. Raises UserError where it cannot write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / FOLDER
        self._names: set[str] = set()

    def write_page(self, name: str, text: str) -> Path:
        """Writes the page, then removes the files that it does not use."""
        path = self.folder / name
        write_file(path, text)
        self._remove_old()
        return path

    def add_cards(self, cards: Iterable[Card]) -> str:
        """Writes a file of cards, without what the page has inside; returns its name."""
        text = dump([{key: value for key, value in card.items() if key not in INDEX} for card in cards])
        name = f"cards-{_digest(text)}.js"
        if not self._use(name):
            self._add(name, f'hintGrpoCards("{name}", {text})\n'.encode("utf-8", errors="replace"))
        return name

    def find_picture(self, source: str, endings: Iterable[str]) -> str | None:
        """The address, seen from the page, of a picture that an earlier page added; None if there is none."""
        names = (f"picture-{_digest(source)}.{ending}" for ending in endings)
        return next((f"{FOLDER}/{name}" for name in names if self._use(name)), None)

    def add_picture(self, source: str, ending: str, content: bytes) -> str:
        """Writes a picture, named by a text that describes where it is from; returns its address, seen from the page."""
        name = f"picture-{_digest(source)}.{ending}"
        self._add(name, content)
        return f"{FOLDER}/{name}"

    def _add(self, name: str, content: bytes) -> None:
        write_file(self.data / name, content, durable=False)
        self._names.add(name)

    def _use(self, name: str) -> bool:
        """Whether the file is there; if so, it gets the age of a new one."""
        try:
            os.utime(self.data / name)
        except OSError:
            return False
        self._names.add(name)
        return True

    def _remove_old(self) -> None:
        """Removes other files of pages, unless another process may have written them for a page that it is still making."""
        for file in [*self.data.glob("cards-*.js"), *self.data.glob("picture-*")]:
            try:
                if file.name not in self._names and file.stat().st_mtime < time.time() - TIMEOUT_S:
                    file.unlink()
            except OSError:
                continue  # another process removed it, or it may not be removed: it does no harm


def write_file(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Replaces a file; the folder above it is made if need be. Raises UserError if that is not possible."""
    try:
        path.parent.mkdir(exist_ok=True)
        replace_file(path, content, durable=durable)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror}; copy the folder to a place that you can write to"
        ) from None


class CardStore:
    """Collects the cards of a page, in memory as long as they fit into the page, then in files."""

    def __init__(self, files: PageFiles, max_text: int) -> None:
        self.files, self.max_text = files, max_text
        self.index: dict[str, list[Any]] = {key: [] for key in INDEX}
        self._characters = 0
        self._waiting: list[Card] = []
        self._names: list[str] = []

    def __len__(self) -> int:
        return len(self.index["state"])

    def add(self, card: Card) -> None:
        for key, values in self.index.items():
            values.append(card.get(key))
        self._characters += num_characters(card)
        self._waiting.append(card)
        if self._characters > self.max_text:
            while len(self._waiting) >= PER_FILE:
                self._write_file()

    def data(self) -> dict[str, Any]:
        """What the page's script needs: all cards, or the index and the names of the files."""
        if self._characters <= self.max_text:
            return {"cards": self._waiting}
        while self._waiting:
            self._write_file()
        known = {key: values for key, values in self.index.items() if any(value is not None for value in values)}
        return {"index": known, "folder": FOLDER, "files": self._names, "per_file": PER_FILE}

    def _write_file(self) -> None:
        self._names.append(self.files.add_cards(self._waiting[:PER_FILE]))
        del self._waiting[:PER_FILE]


def num_characters(card: Card) -> int:
    """About the size of a card in JSON; 200 stands for the keys and numbers of a completion."""
    return sum(
        len(level["hint"] or "") + sum(len(one["text"]) + 200 for one in level["completions"])
        for level in card["levels"]
    )


def dump(data: Any) -> str:
    """JSON that may stand in a script or in HTML."""
    return htmlsafe_json_dumps(data, ensure_ascii=False, separators=(",", ":"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="replace")).hexdigest()[:16]
