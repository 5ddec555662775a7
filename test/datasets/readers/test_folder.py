from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from mdic_ros.datasets import DatasetError, detect_layout, open_stereo
from mdic_ros.datasets.readers.folder import FOLDER_NUMBERS


def test_pairs_by_name_whatever_the_format(folder: Path) -> None:
    source = open_stereo(folder, rate_hz=20)
    assert (source.layout, [f.name for f in source]) == ("folder", ["000", "001", "002"])
    assert source[1].stamp_ns - source[0].stamp_ns == 50_000_000
    assert source[2].left.shape == (75, 248, 3)
    assert source.left.topic == "/stereo/left/image_raw"
    assert source.left_info is None


def test_calibration_is_scaled_to_the_images(folder: Path) -> None:
    from textwrap import dedent

    text = dedent("""\
        image_width: 496
        image_height: 150
        camera_matrix: {data: [500, 0, 320, 0, 500, 240, 0, 0, 1]}
        distortion_coefficients: {data: [0, 0, 0, 0, 0]}
        rectification_matrix: {data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
        projection_matrix: {data: [500, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0]}
    """)
    (folder / "left.yaml").write_text(text)
    source = open_stereo(folder)
    assert source.left_info is not None
    assert (source.left_info.width, source.left_info.k[0, 0]) == (248, 250)
    assert source.right_info is None


def test_images_without_partner_are_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "right" / "001.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        source = open_stereo(folder)
    assert ([frame.name for frame in source], source.unpaired) == (["000", "002"], (1, 0))
    assert "left/001.jpg" in caplog.text
    (folder / "left" / "002.webp").rename(folder / "left" / "003.webp")
    (folder / "left" / "000.png").unlink()
    with pytest.raises(DatasetError, match=r"no two have the same name: 001\.jpg and 000\.png.*Rename them"):
        open_stereo(folder)


def test_same_name_twice(folder: Path) -> None:
    (folder / "left" / "001.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"both 001\.jpg and 001\.png"):
        open_stereo(folder)


def test_one_side_only(folder: Path) -> None:
    (folder / "right").rename(folder / "rihgt")
    with pytest.raises(DatasetError, match="right is not there"):
        open_stereo(folder)


def test_empty_folder(folder: Path) -> None:
    for path in (folder / "left").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="left has no images"):
        open_stereo(folder)


def names_of(path: Path, **options: Any) -> list[tuple[str, str, str]]:
    """(name of the frame, left file, right file) of all frames, relative to the path."""
    found = []
    for frame in open_stereo(path, **options):
        assert frame.left_path is not None and frame.right_path is not None
        files = [file.relative_to(path).as_posix() for file in (frame.left_path, frame.right_path)]
        found.append((frame.name, files[0], files[1]))
    return found


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left", "right"),
        ("Left", "Right"),
        ("LEFT", "RIGHT"),
        ("image_left", "image_right"),
        ("left_images", "right_images"),
        ("leftImages", "rightImages"),
        ("imgLeft", "imgRight"),
        ("stereo-left-rect", "stereo-right-rect"),
        ("l", "r"),
        ("L", "R"),
        ("img_l", "img_r"),
        ("image_0", "image_1"),
        ("image_2", "image_3"),
        ("image_00", "image_01"),
        ("image_02", "image_03"),
        ("cam0", "cam1"),
        ("camera_0", "camera_1"),
        ("im0", "im1"),
        ("colored_0", "colored_1"),
        ("cam0/data", "cam1/data"),
        ("cam1", "cam2"),
        ("camera_1", "camera_2"),
        ("camera-1", "camera-2"),
        ("image_1", "image_2"),
        ("image_01", "image_02"),
        ("infra1", "infra2"),
        ("infra_1", "infra_2"),
        ("ir1", "ir2"),
        ("device_0_infra1", "device_0_infra2"),
        ("view1", "view5"),
        ("im2", "im6"),
        ("camera_5", "camera_6"),
    ],
)
def test_names_of_folders(tmp_path: Path, save: Any, picture: Any, left: str, right: str) -> None:
    for name in (left, right):
        for number in (2, 10, 1):
            save(tmp_path / name / f"{number}.png", picture(number))
    (tmp_path / "notes").mkdir()
    assert detect_layout(tmp_path) == "folder"
    assert names_of(tmp_path) == [(str(n), f"{left}/{n}.png", f"{right}/{n}.png") for n in (1, 2, 10)]


@pytest.mark.parametrize(("words", "left", "right"), [row[1:] for row in FOLDER_NUMBERS])
def test_numbers_of_folders(tmp_path: Path, save: Any, picture: Any, words: str, left: int, right: int) -> None:
    """Every word of the table, with both of its numbers."""
    for word in words.split("|"):
        for name in (f"{word}{left}", f"{word}{right}"):
            save(tmp_path / word / name / "7.png", picture(0))
        assert names_of(tmp_path / word) == [("7", f"{word}{left}/7.png", f"{word}{right}/7.png")]


def test_cameras_that_are_counted_from_0_go_first(tmp_path: Path, save: Any, picture: Any) -> None:
    for name in ("cam0", "cam1", "cam2"):
        save(tmp_path / name / "7.png", picture(0))
    assert names_of(tmp_path) == [("7", "cam0/7.png", "cam1/7.png")]


@pytest.mark.parametrize(
    ("left", "right"), [("{}", "{:03}"), ("frame{:04}", "image_{}"), ("left_{}", "right_{:06}"), ("5_{}", "005_{:02}")]
)
def test_the_same_number_written_otherwise(tmp_path: Path, save: Any, picture: Any, left: str, right: str) -> None:
    for number in (2, 10, 1):
        save(tmp_path / "left" / f"{left.format(number)}.png", picture(number))
        save(tmp_path / "right" / f"{right.format(number)}.png", picture(number + 100))
    found = [(one, other) for _, one, other in names_of(tmp_path)]
    assert found == [(f"left/{left.format(n)}.png", f"right/{right.format(n)}.png") for n in (1, 2, 10)]


def test_numbers_that_fit_no_partner_or_two(
    tmp_path: Path, save: Any, picture: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("left/1", "left/2", "right/001", "right/003"):
        save(tmp_path / f"{name}.png", picture(0))
    with caplog.at_level(logging.WARNING):
        source = open_stereo(tmp_path)
    assert ([frame.number for frame in source], source.unpaired) == ([1], (1, 1))
    save(tmp_path / "right" / "01.png", picture(0))
    with pytest.raises(DatasetError, match="no two have the same name"):
        open_stereo(tmp_path)


@pytest.mark.parametrize(
    ("left", "right", "frames"),
    [
        ("left_{}", "right_{}", ["1", "2", "10"]),
        ("{}_left", "{}_right", ["1", "2", "10"]),
        ("left{}", "right{}", ["1", "2", "10"]),
        ("left-{}", "right-{}", ["1", "2", "10"]),  # as camera_calibration saves them
        ("scene_{}_L", "scene_{}_R", ["scene_1", "scene_2", "scene_10"]),
        ("cam0_{}", "cam1_{}", ["1", "2", "10"]),
        ("frame{}_left_rect", "frame{}_right_rect", ["frame1_rect", "frame2_rect", "frame10_rect"]),
    ],
)
@pytest.mark.parametrize("two_folders", [False, True])
def test_names_of_files(
    tmp_path: Path, save: Any, picture: Any, left: str, right: str, frames: list[str], two_folders: bool
) -> None:
    places = ("left/", "right/") if two_folders else ("", "")
    for place, form in zip(places, (left, right)):
        for number in (2, 10, 1):
            save(tmp_path / f"{place}{form.format(number)}.png", picture(number))
    expected = [
        (frame, f"{places[0]}{left.format(n)}.png", f"{places[1]}{right.format(n)}.png")
        for frame, n in zip(frames, (1, 2, 10))
    ]
    assert detect_layout(tmp_path) == "folder"
    assert names_of(tmp_path) == expected


@pytest.mark.parametrize(
    ("left", "right"), [("left", "right"), ("im0", "im1"), ("L", "R"), ("view1", "view5"), ("im2", "im6")]
)
def test_one_pair_in_a_folder(tmp_path: Path, save: Any, picture: Any, left: str, right: str) -> None:
    save(tmp_path / f"{left}.png", picture(0))
    save(tmp_path / f"{right}.png", picture(1))
    assert names_of(tmp_path) == [(left, f"{left}.png", f"{right}.png")]


@pytest.mark.parametrize(
    "names",
    [
        ["image_0.png", "image_1.png", "image_2.png"],
        ["bright.png", "dark.png"],
        ["left.png"],
        ["1.png", "2.png"],
        ["model_r.png", "vitamin_l.png"],
    ],
)
def test_other_pictures_are_no_recording(tmp_path: Path, save: Any, picture: Any, names: list[str]) -> None:
    for name in names:
        save(tmp_path / name, picture(0))
    with pytest.raises(DatasetError, match="not a recording of a known layout"):
        detect_layout(tmp_path)


def test_plain_names_go_first(tmp_path: Path, save: Any, picture: Any) -> None:
    for name in ("left", "right", "left_depth", "right_depth", "cam0", "cam1", "l", "r"):
        save(tmp_path / name / "1.png", picture(0))
    assert names_of(tmp_path) == [("1", "left/1.png", "right/1.png")]


def test_colour_goes_before_grey(tmp_path: Path, save: Any, picture: Any) -> None:
    for number in range(4):
        save(tmp_path / f"image_{number}" / "1.png", picture(0))
    assert names_of(tmp_path) == [("1", "image_2/1.png", "image_3/1.png")]
    assert names_of(tmp_path, cameras="gray") == [("1", "image_0/1.png", "image_1/1.png")]


def test_several_pairs_ask_for_one(tmp_path: Path, save: Any, picture: Any) -> None:
    for name in ("front_left", "front_right", "rear_left", "rear_right"):
        save(tmp_path / name / "1.png", picture(0))
    with pytest.raises(DatasetError, match=r"front_left \+ front_right, rear_left \+ rear_right\); put the one"):
        open_stereo(tmp_path)


def test_calibration_decides_whether_it_is_rectified(folder: Path) -> None:
    for side, column in (("left", 0), ("right", -60)):
        (folder / f"{side}.yaml").write_text(
            "image_width: 248\nimage_height: 75\n"
            "camera_matrix: {data: [200, 0, 124, 0, 200, 37, 0, 0, 1]}\n"
            "distortion_coefficients: {data: [-0.2, 0, 0, 0, 0]}\n"
            "rectification_matrix: {data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}\n"
            f"projection_matrix: {{data: [200, 0, 124, {column}, 0, 200, 37, 0, 0, 0, 1, 0]}}\n"
        )
    with pytest.raises(DatasetError, match=r"D is not 0 in its calibration.*--rectify-images"):
        open_stereo(folder)
    assert open_stereo(folder, rectify_images=False)[0].left_path is not None
    pytest.importorskip("cv2")
    source = open_stereo(folder, rectify_images=True)
    assert source.right_info is not None
    assert (source.right_info.d, source.right_info.baseline_m) == ((0.0,) * 5, pytest.approx(0.3))
    assert source.left.topic == "/stereo/left/image_rect"


def test_a_damaged_first_image_has_no_part_in_the_size(folder: Path) -> None:
    (folder / "left" / "000.png").write_bytes(b"x")
    (folder / "left.yaml").write_text(
        "image_width: 496\nimage_height: 150\n"
        "camera_matrix: {data: [500, 0, 320, 0, 500, 240, 0, 0, 1]}\n"
        "distortion_coefficients: {data: [0]}\n"
        "rectification_matrix: {data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}\n"
        "projection_matrix: {data: [500, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0]}\n"
    )
    source = open_stereo(folder)
    assert source.left_info is not None
    assert source.left_info.width == 248
