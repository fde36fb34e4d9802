"""The memory of this machine that its processes may use, also inside a container or a SLURM job (control groups)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes. `available` counts what the kernel can free, such as cached files; `swap` is not part of the others."""

    total: int
    available: int
    swap: int = 0


def host_memory(root: Path = Path("/")) -> Memory | None:
    """What this machine has, or the tightest control group around this process leaves; None if it is not Linux.

    `root` holds /proc and /sys. Sources: proc(5), /proc/meminfo; the kernel's documentation of cgroup-v1/memory and cgroup-v2.
    """
    meminfo = root / "proc/meminfo"
    if not meminfo.is_file():
        return None
    kilobytes = {
        name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE)
    }
    total, available = (1024 * kilobytes[name] for name in ("MemTotal", "MemAvailable"))
    for limit, used in _groups(root):
        total, available = min(total, limit), min(available, max(0, limit - used))
    return Memory(total, available, 1024 * kilobytes.get("SwapTotal", 0))


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, used without cached files) of every control group that this process is in and that has a limit."""
    membership = root / "proc/self/cgroup"
    for line in membership.read_text().splitlines() if membership.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, names, cached = root / "sys/fs/cgroup", ("memory.max", "memory.current"), "inactive_file"
        elif "memory" in controllers.split(","):
            mount, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
            cached = "total_inactive_file"
        else:
            continue
        # Inside a container the path may be that of the machine outside, of which only the group's own files are mounted.
        relative = PurePosixPath(path.lstrip("/"))
        for folder in dict.fromkeys(mount / part for part in (relative, *relative.parents)):
            limit, used = (_number(folder / name) for name in names)
            if limit is not None and used is not None:
                stat = folder / "memory.stat"
                found = re.search(rf"^{cached} (\d+)$", stat.read_text() if stat.is_file() else "", re.MULTILINE)
                yield limit, used - (int(found[1]) if found else 0)


def _number(file: Path) -> int | None:
    """The file's number; None without the file, or if it holds "max", which means no limit."""
    text = file.read_text().strip() if file.is_file() else ""
    return int(text) if text.isdecimal() else None
