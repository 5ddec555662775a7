from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mdic_ros.datasets import DatasetError
from mdic_ros.datasets.files import beside, image_files, natural, pair_folders, places, read_stamps


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def test_names_are_sorted_by_their_numbers() -> None:
    names = ["10.png", "2.png", "frame_1_10.png", "frame_1_9.png", "a.png", "1.png"]
    assert sorted(names, key=natural) == ["1.png", "2.png", "10.png", "a.png", "frame_1_9.png", "frame_1_10.png"]
    assert sorted(["0000000010", "0000000009"], key=natural) == ["0000000009", "0000000010"]


def test_only_images_count(tmp_path: Path) -> None:
    touch(tmp_path, "2.JPG", "1.png", "._1.png", "notes.txt", "10.webp")
    assert [file.name for file in image_files(tmp_path)] == ["1.png", "2.JPG", "10.webp"]


def test_pairs_come_in_order_and_what_is_alone_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path / "a", "10.png", "9.png", "8.png")
    touch(tmp_path / "b", "10.jpg", "9.png", "11.png", "12.png")
    with caplog.at_level(logging.WARNING):
        pairs, unpaired = pair_folders(tmp_path / "a", tmp_path / "b")
    assert [(pair.name, pair.left.name, pair.right.name) for pair in pairs] == [
        ("9", "9.png", "9.png"),
        ("10", "10.png", "10.jpg"),
    ]
    assert (unpaired.left, unpaired.right, unpaired.total) == (1, 2, 3)
    assert "1 left and 2 right images have no partner" in caplog.text
    assert str(tmp_path / "a" / "8.png") in caplog.text


def test_both_places_of_a_link_are_looked_at(tmp_path: Path) -> None:
    touch(tmp_path / "real" / "drive")
    touch(tmp_path / "real", "calib.txt")
    touch(tmp_path / "mine", "times.txt")
    link = tmp_path / "mine" / "link"
    link.symlink_to(tmp_path / "real" / "drive")
    assert places(link) == [tmp_path / "real" / "drive", link]
    assert beside(link, "calib.txt") == tmp_path / "real" / "calib.txt"
    assert beside(link, "times.txt") == tmp_path / "mine" / "times.txt"
    assert beside(link, "other.txt") is None


class TestStamps:
    """`needed` is one more than the highest number of an image."""

    def write(self, folder: Path, text: str) -> Path:
        (folder / "times.txt").write_text(text)
        return folder / "times.txt"

    def test_empty_lines_at_the_end_do_not_count(self, tmp_path: Path) -> None:
        assert read_stamps(self.write(tmp_path, "1\n2\n3\n\n  \n"), int, 2) == [1, 2, 3]

    def test_one_empty_line_too_many_is_skipped(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            assert read_stamps(self.write(tmp_path, "1\n\n2\n3\n"), int, 3) == [1, 2, 3]
        assert "line 2 is empty and was skipped" in caplog.text

    def test_an_empty_line_that_may_stand_for_an_image_is_not_guessed(self, tmp_path: Path) -> None:
        for needed in (2, 4):
            with pytest.raises(DatasetError, match=r"times\.txt, line 2 is empty: delete it if .* or put a time"):
                read_stamps(self.write(tmp_path, "1\n\n2\n3\n"), int, needed)

    def test_too_few(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"has 2 lines, but there is an image with number 2.*copy"):
            read_stamps(self.write(tmp_path, "1\n2\n"), int, 3)

    def test_no_stamp(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"times\.txt, line 2: .*'x'.*correct it"):
            read_stamps(self.write(tmp_path, "1\nx\n"), int, 2)
