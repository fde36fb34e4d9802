"""`.ci/run` gives the tests empty caches, and removes them; it installs Chromium where it can, and else says what will skip."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CACHES = (
    "XDG_CACHE_HOME",
    "VLLM_CACHE_ROOT",
    "TORCH_EXTENSIONS_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TRITON_CACHE_DIR",
    "HF_HOME",
)
MAKE = """#!{python}
import json, os, sys
from pathlib import Path
folders = {{name: [value, os.listdir(value)] for name, value in os.environ.items() if name in {caches}}}
for folder, _ in folders.values():
    Path(folder, "left-by-make").touch()
with open({seen!r}, "a") as seen:
    print(json.dumps([sys.argv[1], folders, dict(os.environ)]), file=seen)
"""


def test_make_gets_empty_caches_that_are_gone_afterwards(repository, tmp_path):
    seen, home = tmp_path / "seen", tmp_path / "home"
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text(MAKE.format(python=sys.executable, caches=CACHES, seen=str(seen)))
    make.chmod(0o755)
    (make.parent / "chromium").symlink_to(make)  # so that nothing is installed
    used_before = {name: str(home / "used") for name in (*CACHES, "HF_HUB_CACHE")}
    environment = os.environ | used_before | {"HOME": str(home), "PATH": f"{make.parent}:{os.environ['PATH']}"}
    environment.pop("PIP_CACHE_DIR", None)
    subprocess.run([repository / ".ci" / "run"], env=environment, check=True)
    calls = [json.loads(line) for line in seen.read_text().splitlines()]
    assert [target for target, *_ in calls] == ["check", "test", "test-slow"]
    _, first, variables = calls[0]
    assert first.keys() == set(CACHES)
    for folder, files in first.values():
        assert not files
        assert not Path(folder).is_relative_to(home)
        assert not Path(folder).exists()  # removed at the end
    for _, folders, _ in calls[1:]:  # one set for the whole run: what the first tests compile is not compiled again
        assert {name: folder for name, (folder, _) in folders.items()} == {
            n: folder for n, (folder, _) in first.items()
        }
        assert all(files == ["left-by-make"] for _, files in folders.values())
    assert "HF_HUB_CACHE" not in variables
    assert variables["PIP_CACHE_DIR"] == f"{home}/used/pip"  # pip's downloads stay where they were


COMMANDS = ("bash", "dirname", "mktemp", "mkdir", "rm", "env", "timeout", "tail", "cat", "chmod")


@pytest.mark.parametrize(
    ("user", "apt_get", "chromium", "said"),
    [
        ("0", "install", False, ""),
        ("0", "install", True, ""),
        ("0", "fail", False, "Chromium is not installed (E: no network): the browser tests will skip"),
        ("0", None, False, "Chromium is not installed (there is no apt-get): the browser tests will skip"),
        (
            "1000",
            "install",
            False,
            "Chromium is not installed (apt-get needs root or sudo without a password): the browser tests will skip",
        ),
    ],
)
def test_chromium_is_installed_if_that_is_possible(repository, tmp_path, user, apt_get, chromium, said):
    """With a PATH of a few real commands and stand-ins for those that would change this machine."""
    bin = tmp_path / "bin"
    bin.mkdir()
    for name in COMMANDS:
        (bin / name).symlink_to(shutil.which(name))

    def write(name, script):
        (bin / name).write_text(f"#!{shutil.which('bash')}\n{script}\n")
        (bin / name).chmod(0o755)

    write("make", f'echo "make $1 $(command -v chromium)" >> {tmp_path}/calls')
    write("id", f"echo {user}")
    if chromium:
        write("chromium", "")
    if apt_get:
        fake = f"printf '#!/bin/sh\\n' > {bin}/chromium; chmod +x {bin}/chromium; echo much output"
        act = fake if apt_get == "install" else "echo 'E: no network' >&2; exit 100"
        write("apt-get", f'echo "apt-get $*" >> {tmp_path}/calls; [ "$1" = update ] || {{ {act}; }}')
    environment = {"PATH": str(bin), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run([repository / ".ci" / "run"], env=environment, check=True, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (said, "")
    calls = (tmp_path / "calls").read_text().splitlines()
    installed = str(bin / "chromium") if chromium or not said else ""
    asks = apt_get and user == "0" and not chromium
    assert calls == [
        *(["apt-get update", "apt-get install -y --no-install-recommends chromium"] if asks else []),
        *(f"make {target} {installed}" for target in ("check", "test", "test-slow")),
    ]
