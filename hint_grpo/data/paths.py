"""Image paths, restricted to the data folder.

The paths in a record are untrusted: `geoqa+/../../../outside.png` begins with an accepted folder and still leaves it.
`..`, symbolic links and absolute paths that lead out of the data folder are refused; nothing outside is ever opened.
"""

import os
import stat
from functools import lru_cache
from pathlib import PurePosixPath

# Why an image cannot be used, as far as its path and file status show.
OUTSIDE = "image path leaves the data folder (by '..', a symbolic link, or as an absolute path)"
MISSING = "image file is missing"
UNREADABLE = "image path is not a readable file"
EMPTY = "image file is empty (0 bytes)"


class BadImage(Exception):
    """An image that cannot be used; `str(error)` is the reason, without the path."""


def safe_relative(path: str) -> str:
    """The path, normalised ("./a//b" is "a/b"); raises BadImage if it could leave the folder it is relative to."""
    if not path.strip() or "\0" in path:
        raise BadImage("the image path is empty or holds a null character")
    parts = PurePosixPath(path.strip().replace("\\", "/")).parts
    if parts and (parts[0].startswith("/") or parts[0].endswith(":")):
        raise BadImage(f"the image path is absolute ({path[:80]})")
    if ".." in parts:
        raise BadImage(f"the image path leaves the data folder by '..' ({path[:80]})")
    return "/".join(parts)


class ImageRoot:
    """The data folder: turns a record's path into an absolute one and checks the file without opening it."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.path.realpath(folder)
        # Thousands of images share a folder: resolving the links of each folder once leaves one lstat per file.
        self._real_folder = lru_cache(maxsize=4096)(os.path.realpath)

    def absolute(self, path: str) -> str:
        """The absolute path of a record's path, whether or not the file exists; raises BadImage."""
        return os.path.join(self.folder, self.relative(path))

    def relative(self, path: str) -> str:
        """A record's path relative to the data folder; an absolute path must lie inside it. Raises BadImage."""
        path = path.strip()
        if path.startswith("/") and "\0" not in path:
            # The data folder may be spelled as given or with its links resolved; a path may use either, or another link.
            here = self._real_folder(os.path.dirname(path))
            if ".." not in path.split("/") and self.contains(here):
                path = os.path.relpath(os.path.join(here, os.path.basename(path)), self.folder)
        return safe_relative(path)

    def contains(self, real_path: str) -> bool:
        """Whether a path without symbolic links lies in the data folder."""
        return os.path.commonpath((self.folder, real_path)) == self.folder

    def problem(self, absolute: str) -> str | None:
        """What is wrong with the file, without opening it: OUTSIDE, MISSING, UNREADABLE or EMPTY; None if nothing is."""
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
