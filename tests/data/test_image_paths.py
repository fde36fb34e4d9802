"""Image paths stay inside the data folder, whatever a record says."""

import os
from pathlib import Path

import pytest

from hint_grpo.data.paths import EMPTY, MISSING, OUTSIDE, UNREADABLE, BadImage, ImageRoot, safe_relative


@pytest.mark.parametrize(
    "path",
    [
        "geoqa+/../../outside.png",
        "geoqa+/images/../../../outside.png",
        "..",
        "geoqa+/..\\..\\outside.png",
        "/etc/passwd",
        "//etc/passwd",
        "C:\\pictures\\1.png",
        "",
        "  ",
        "geoqa+/\0.png",
    ],
)
def test_paths_that_could_leave_the_folder_are_refused(data_root: Path, path: str) -> None:
    with pytest.raises(BadImage):
        ImageRoot(data_root).absolute(path)


def test_harmless_spellings_are_tidied() -> None:
    assert safe_relative("./geoqa+//images/./1.png") == "geoqa+/images/1.png"
    assert safe_relative(" geoqa+/images/1.png\n") == "geoqa+/images/1.png"
    assert safe_relative("geoqa+/..png") == "geoqa+/..png"


def test_a_folder_that_is_itself_reached_by_a_link_is_fine(data_root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(data_root)
    root = ImageRoot(link)
    assert root.absolute("geoqa+/images/1.png") == os.path.realpath(data_root / "geoqa+/images/1.png")
    assert root.problem(root.absolute("geoqa+/images/1.png")) is None


def test_an_absolute_path_inside_the_folder_is_accepted_in_any_spelling(data_root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(data_root)
    wanted = os.path.realpath(data_root / "geoqa+/images/1.png")
    for root in (ImageRoot(data_root), ImageRoot(link)):
        for folder in (data_root, link, data_root.resolve()):
            assert root.absolute(f"{folder}/geoqa+/images/1.png") == wanted
        assert root.problem(root.absolute(f"{link}/geoqa+/images/1.png")) is None


def test_an_absolute_path_that_only_looks_inside_is_refused(data_root: Path, tmp_path: Path) -> None:
    (data_root / "linked").symlink_to(tmp_path)
    (data_root / "coco/out.png").symlink_to(tmp_path / "outside.png")
    root = ImageRoot(data_root)
    for path in (
        f"{data_root}/../outside.png",
        f"{data_root}/linked/outside.png",
        f"{data_root}-other/1.png",
        f"{data_root}/\0.png",
        str(tmp_path / "outside.png"),
    ):
        with pytest.raises(BadImage):
            root.absolute(path)
    assert root.problem(root.absolute(f"{data_root}/coco/out.png")) == OUTSIDE


def test_links_are_followed_inside_and_refused_outside(data_root: Path, tmp_path: Path) -> None:
    (data_root / "coco/inside.png").symlink_to(data_root / "geoqa+/images/1.png")
    (data_root / "coco/out.png").symlink_to(tmp_path / "outside.png")
    (data_root / "coco/dangling.png").symlink_to(data_root / "coco/nothing.png")
    (data_root / "linked").symlink_to(tmp_path)
    root = ImageRoot(data_root)
    found = {name: root.problem(root.absolute(name)) for name in (
        "coco/inside.png", "coco/out.png", "coco/dangling.png", "linked/outside.png"
    )}  # fmt: skip
    assert found == {
        "coco/inside.png": None,
        "coco/out.png": OUTSIDE,
        "coco/dangling.png": MISSING,
        "linked/outside.png": OUTSIDE,
    }


def test_a_sibling_folder_with_the_same_beginning_is_outside(data_root: Path) -> None:
    sibling = data_root.with_name(data_root.name + "-other")
    sibling.mkdir()
    (sibling / "1.png").write_bytes(b"x")
    (data_root / "out.png").symlink_to(sibling / "1.png")
    root = ImageRoot(data_root)
    assert root.problem(root.absolute("out.png")) == OUTSIDE


def test_what_is_no_picture_file_is_named(data_root: Path) -> None:
    (data_root / "empty.png").touch()
    root = ImageRoot(data_root)
    assert root.problem(root.absolute("empty.png")) == EMPTY
    assert root.problem(root.absolute("none.png")) == MISSING
    assert root.problem(root.absolute("geoqa+/images/1.png/2.png")) == MISSING
    assert root.problem(root.absolute("geoqa+")) == UNREADABLE
