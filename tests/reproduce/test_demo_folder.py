"""`make demo` deletes an earlier demo, and nothing else."""

import pytest

from eval.demo import delete_earlier_demo
from hint_grpo.machine.errors import UserError


@pytest.mark.parametrize("name", ["protocol.json", "world"])  # of a demo today, and of one before the evidence
def test_an_earlier_demo_is_deleted(tmp_path, name: str):
    (tmp_path / "logs").mkdir()
    (tmp_path / name).write_text("old")
    (tmp_path / "tables.md").write_text("old")
    delete_earlier_demo(tmp_path)
    assert not tmp_path.exists()


def test_a_new_or_empty_folder_is_fine(tmp_path):
    delete_earlier_demo(tmp_path)
    delete_earlier_demo(tmp_path / "new")


@pytest.mark.parametrize("other", [None, "logs", "world"])
def test_anything_else_is_kept(tmp_path, other: str | None):
    if other:  # a folder of that name is not yet a demo
        (tmp_path / other).mkdir()
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not an earlier demo"):
        delete_earlier_demo(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"
