"""Image paths, kept inside the data folder.

A record's path is text from the outside: `geoqa+/../../../outside.png` begins with an accepted folder and still leaves
it. `..`, symbolic links and absolute paths that lead out of the data folder are refused; nothing is ever opened there.
"""

import os
import stat
from functools import lru_cache
from pathlib import PurePosixPath


class BadImage(Exception):
    """An image that cannot be used; `str(error)` is the reason, without the path."""


def safe_relative(path: str) -> str:
    """The path, tidied ("./a//b" is "a/b"); raises BadImage where it could leave the folder it is relative to."""
    if not path.strip() or "\0" in path:
        raise BadImage("the image path is empty or holds a null character")
    parts = PurePosixPath(path.strip().replace("\\", "/")).parts
    if parts and (parts[0].startswith("/") or parts[0].endswith(":")):
        raise BadImage(f"the image path is absolute ({path[:80]})")
    if ".." in parts:
        raise BadImage(f"the image path leaves the data folder by '..' ({path[:80]})")
    return "/".join(parts)


class ImageRoot:
    """The data folder; turns a record's path into an absolute one, and looks whether a file is there."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.path.realpath(folder)
        # Thousands of images share a folder: resolving links of every folder once keeps the check at one lstat a file.
        self._real_folder = lru_cache(maxsize=4096)(os.path.realpath)

    def absolute(self, path: str) -> str:
        """The absolute path of a record's path; whether a file is there is not looked at. Raises BadImage."""
        return os.path.join(self.folder, self.relative(path))

    def relative(self, path: str) -> str:
        """A record's path relative to the data folder; an absolute one where it lies inside. Raises BadImage."""
        path = path.strip()
        if path.startswith("/") and "\0" not in path:
            # The folder may have two spellings, as given and with its links resolved; a path may use either, or a third.
            here = self._real_folder(os.path.dirname(path))
            if ".." not in path.split("/") and self.contains(here):
                path = os.path.relpath(os.path.join(here, os.path.basename(path)), self.folder)
        return safe_relative(path)

    def contains(self, real_path: str) -> bool:
        return os.path.commonpath((self.folder, real_path)) == self.folder

    def problem(self, absolute: str) -> str | None:
        """What is wrong with the file as seen without opening it; None where nothing is."""
        try:
            status = os.lstat(absolute)
        except OSError as error:
            return MISSING if isinstance(error, FileNotFoundError | NotADirectoryError) else UNREADABLE
        if stat.S_ISLNK(status.st_mode):
            real = os.path.realpath(absolute)
            if not self.contains(real):
                return OUTSIDE
            if not os.path.exists(real):
                return MISSING
            status = os.stat(real)
        elif not self.contains(self._real_folder(os.path.dirname(absolute))):
            return OUTSIDE
        if not stat.S_ISREG(status.st_mode):
            return UNREADABLE
        return None if status.st_size else EMPTY


OUTSIDE = "image path leaves the data folder (by '..', a symbolic link, or as an absolute path)"
MISSING = "image file is missing"
UNREADABLE = "image path is not a readable file"
EMPTY = "image file is empty (0 bytes)"
