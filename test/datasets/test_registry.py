from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mdic_ros.datasets import LAYOUTS, READERS, DatasetError, detect_layout, open_stereo


def test_unknown_layout_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        open_stereo(tmp_path)
    for layout in LAYOUTS:
        assert f"  {layout} " in str(error.value)
    with pytest.raises(DatasetError, match="no such"):
        open_stereo(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="unknown layout"):
        open_stereo(tmp_path, "kiti")  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_wrong_layout_is_an_error(tmp_path: Path, layout: str) -> None:
    with pytest.raises(DatasetError, match=str(tmp_path)):
        open_stereo(tmp_path, layout)  # type: ignore[arg-type]


def test_layouts_are_told_apart(
    kitti_raw: Path, kitti_odometry: Path, kitti_2015: Path, kitti_2012: Path, folder: Path
) -> None:
    paths = [kitti_raw, kitti_odometry, kitti_2015, kitti_2012, folder]
    expected = ["kitti_raw", "kitti_odometry", "kitti_stereo", "kitti_stereo", "folder"]
    assert [detect_layout(path) for path in paths] == expected


def test_a_reader_says_what_it_is(folder: Path) -> None:
    assert [reader.name for reader in READERS] == list(LAYOUTS)
    assert len(set(LAYOUTS)) == len(LAYOUTS)
    assert all(reader.description and "\n" not in reader.description for reader in READERS)
    assert [reader.name for reader in READERS if reader.matches(folder)] == ["folder"]
    assert not any(reader.matches(folder / "left" / "000.png") for reader in READERS)
    assert not any(reader.matches(folder / "absent") for reader in READERS)


def test_folders_that_may_not_be_read_are_named(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    folder.chmod(0)
    try:
        with pytest.raises(DatasetError, match="cannot read"):
            open_stereo(folder)
    finally:
        folder.chmod(0o755)


def test_a_file_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("text")
    with pytest.raises(DatasetError, match=r"README\.md is a file") as error:
        open_stereo(tmp_path / "README.md")
    assert "Looked for" not in str(error.value)


def test_one_pair_beside_recordings_is_told(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    above = tmp_path / "above"
    shutil.copytree(folder, above / "street")
    shutil.copytree(folder, above / ".hidden")
    for side in ("left", "right"):
        shutil.copy(folder / side / "000.png", above / f"{side}.png")
    open_stereo(above).close()
    assert f"only one pair here; did you mean {above / 'street'}?" in caplog.text
    caplog.clear()
    shutil.rmtree(above / "street")
    open_stereo(above).close()
    open_stereo(folder).close()
    assert "only one pair" not in caplog.text


def test_a_damaged_recording_is_a_dataset_error(kitti_raw: Path) -> None:
    for file in kitti_raw.rglob("*.png"):
        file.write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"0000000000\.png: damaged"):
        open_stereo(kitti_raw)
