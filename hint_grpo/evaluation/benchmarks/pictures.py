"""A data set's pictures as files: the encoded bytes as they are, named by their content, under the run's output.

So everything behind the questions (cache key, decoding processes, checks, resume) treats them like GeoQA's files. A
picture that several rows share is written once, and one that is there already is not written again.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from hint_grpo.data.paths import BadImage


def write_picture(cell: Any, folder: Path) -> Path:
    """The file of a picture cell {"bytes": .., "path": ..}; raises BadImage where it holds no bytes."""
    content = cell.get("bytes")
    if content is None:
        raise BadImage("the data set names a picture file but does not hold it; get a copy with the pictures inside")
    suffix = Path(cell.get("path") or "").suffix.lower()
    suffix = suffix if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix) else ".img"
    file = folder / f"{hashlib.sha256(content).hexdigest()[:24]}{suffix}"
    if not file.is_file() or file.stat().st_size != len(content):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        temporary.write_bytes(content)
        os.replace(temporary, file)
    return file
