"""`.ci/run` gives the tests empty caches, and removes them."""

import json
import os
import subprocess
import sys
from pathlib import Path

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
