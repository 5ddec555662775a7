from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdic_ros.datasets import DatasetError, open_stereo
from mdic_ros.datasets.readers.kitti_raw import parse_utc
from mdic_ros.errors import ImageError

REAL = Path(__file__).parents[4] / "shared" / "data" / "kitti_raw"


def test_stamps_are_utc_whatever_the_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = 1_317_042_272_345_808_896  # date -u -d '2011-09-26 13:04:32' +%s
    for zone in ("UTC", "America/Los_Angeles", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert parse_utc("2011-09-26 13:04:32.345808896") == expected
    monkeypatch.undo()
    time.tzset()


def test_stamps_keep_every_digit() -> None:
    assert parse_utc("1970-01-01 00:00:00") == 0
    assert parse_utc("1970-01-01 00:00:00.5") == 500_000_000
    assert parse_utc("1970-01-01 00:01:00.000000001") == 60_000_000_001
    for text in (
        "",
        "2011-09-26",
        "2011-09-26 13:04:32.1234567890",
        "2011-09-26 13:04:32.-1",
        "2011-13-26 13:04:32",
    ):
        with pytest.raises(ValueError):
            parse_utc(text)


def test_names_and_stamps(kitti_raw: Path) -> None:
    source = open_stereo(kitti_raw)
    assert (source.layout, len(source)) == ("kitti_raw", 4)
    assert (source.left.topic, source.left.frame_id) == (
        "/kitti/camera_color_left/image_raw",
        "camera_color_left",
    )
    assert source.right.topic == "/kitti/camera_color_right/image_raw"
    assert source.left.encoding == "bgr8"
    frame = source[-1]
    assert frame.name == "0000000003"
    assert frame.stamp_ns == 1_317_042_272_645_808_896
    assert frame.right_stamp_ns == frame.stamp_ns - 485_120


def test_images_are_the_files(kitti_raw: Path) -> None:
    source = open_stereo(kitti_raw)
    frame = source[1]
    assert frame.left.shape == (75, 248, 3)
    assert frame.left is frame.left  # decoded once
    assert not np.array_equal(frame.left, frame.right)
    assert "left" not in source[1].__dict__  # and not kept in the source


def test_camera_info_is_that_of_rectified_images_at_their_size(kitti_raw: Path) -> None:
    source = open_stereo(kitti_raw)
    left, right = source.left_info, source.right_info
    assert left is not None
    assert right is not None
    assert (left.height, left.width) == (75, 248)
    assert left.d == (0.0,) * 5
    assert left.k[0, 0] == pytest.approx(721.5377 * 248 / 1242)
    assert left.k[1, 1] == pytest.approx(721.5377 / 5)
    np.testing.assert_array_equal(left.p[:, 3], 0)
    assert right.baseline_m == pytest.approx((339.5242 + 44.85728) / 721.5377)
    assert source[0].left_info is not None


def test_grey_cameras(kitti_raw: Path) -> None:
    source = open_stereo(kitti_raw, cameras="gray")
    assert (source.left.frame_id, source.left.encoding) == ("camera_gray_left", "mono8")
    image = source[0].left
    assert (image[..., 0] == image[..., 2]).all()
    assert source.right_info is not None
    assert source.right_info.baseline_m == pytest.approx(0.5372, abs=1e-3)


def test_removed_frames_keep_their_stamps(kitti_raw: Path) -> None:
    full = [frame.stamp_ns for frame in open_stereo(kitti_raw)]
    for camera in ("image_02", "image_03"):
        next(kitti_raw.rglob(f"{camera}/data/0000000000.png")).unlink()
    assert [frame.stamp_ns for frame in open_stereo(kitti_raw)] == full[1:]


def test_missing_calibration_is_a_warning(kitti_raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    (kitti_raw / "calib_cam_to_cam.txt").unlink()
    with caplog.at_level(logging.WARNING):
        source = open_stereo(kitti_raw)
    assert source.left_info is None
    assert "calib_cam_to_cam.txt" in caplog.text


def test_missing_calibration_line(kitti_raw: Path) -> None:
    path = kitti_raw / "calib_cam_to_cam.txt"
    path.write_text("".join(line for line in path.open() if not line.startswith("P_rect_03")))
    with pytest.raises(DatasetError, match=r"calib_cam_to_cam\.txt.*P_rect_03"):
        open_stereo(kitti_raw)


def test_short_timestamps(kitti_raw: Path) -> None:
    path = next(kitti_raw.rglob("image_03/timestamps.txt"))
    path.write_text("\n".join(path.read_text().splitlines()[:3]))
    with pytest.raises(DatasetError, match=r"image_03/timestamps\.txt has 3 lines.*number 3.*copy the file again"):
        open_stereo(kitti_raw)


def test_broken_timestamp(kitti_raw: Path) -> None:
    path = next(kitti_raw.rglob("image_02/timestamps.txt"))
    path.write_text(path.read_text().replace("13:04", "13.04", 1))
    with pytest.raises(DatasetError, match=r"timestamps\.txt, line 1"):
        open_stereo(kitti_raw)


def test_missing_timestamps(kitti_raw: Path) -> None:
    next(kitti_raw.rglob("image_02/timestamps.txt")).unlink()
    with pytest.raises(DatasetError, match=r"image_02/timestamps\.txt"):
        open_stereo(kitti_raw)


def test_images_without_partner(kitti_raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    next(kitti_raw.rglob("image_03/data/0000000002.png")).unlink()
    with caplog.at_level(logging.WARNING):
        source = open_stereo(kitti_raw)
    assert (len(source), source.unpaired) == (3, (1, 0))
    assert "image_02/data/0000000002.png" in caplog.text


def test_one_camera_only(kitti_raw: Path) -> None:
    for number in (0, 1, 3):
        shutil.rmtree(next(kitti_raw.rglob(f"image_{number:02}")))
    with pytest.raises(DatasetError, match="image_02 has no partner image_03"):
        open_stereo(kitti_raw)


def test_several_drives(kitti_raw: Path) -> None:
    (kitti_raw / "2011_09_26_drive_0009_sync" / "image_02" / "data").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"2 drives.*drive_0005_sync, .*drive_0009_sync"):
        open_stereo(kitti_raw)
    assert len(open_stereo(kitti_raw / "2011_09_26_drive_0005_sync")) == 4


def unrectified(day: Path, name: str) -> Path:
    """The drive with images of the size before rectification, and the calibration for that."""
    drive = day / "2011_09_26_drive_0005_sync"
    for number in range(4):
        for file in sorted(drive.glob(f"image_{number:02}/data/*.png")):
            Image.open(file).resize((278, 102)).save(file)  # S_xx / 5
    text = (day / "calib_cam_to_cam.txt").read_text()
    for number in range(4):
        text += f"S_{number:02}: 1.392000e+03 5.120000e+02\nR_rect_{number:02}: 1 0 0 0 1 0 0 0 1\n"
    (day / "calib_cam_to_cam.txt").write_text(text)
    return drive.rename(day / name)


def test_unrectified_drives_are_refused_or_rectified(kitti_raw: Path) -> None:
    drive = unrectified(kitti_raw, "2011_09_26_drive_0005_extract")
    with pytest.raises(DatasetError, match=r"not rectified \(drives named _extract are not\): add --rectify-images"):
        open_stereo(drive)
    with open_stereo(drive, rectify_images=False) as source:
        assert source[0].left.shape == (102, 278, 3)
        assert source.left_info is not None
        assert source.left_info.k[0, 0] == pytest.approx(980 * 278 / 1392)
        assert source.left_info.d[0] == -0.37
    pytest.importorskip("cv2")
    with open_stereo(drive, rectify_images=True) as source:
        frame = source[0]
        frame.check()
        assert frame.left.shape == (75, 248, 3)  # S_rect_xx / 5
        assert source.left.topic == "/kitti/camera_color_left/image_rect"
        assert source.left_info is not None and source.right_info is not None
        assert (source.left_info.height, source.left_info.width, source.left_info.d) == (75, 248, (0.0,) * 5)
        assert source.left_info.k[0, 0] == pytest.approx(721.5377 * 248 / 1242, rel=1e-3)
        assert source.right_info.baseline_m == pytest.approx(0.5327, abs=1e-3)


def test_an_unrectified_drive_under_another_name(kitti_raw: Path) -> None:
    """Its images have the size that calib_cam_to_cam.txt gives for the time before rectification."""
    drive = unrectified(kitti_raw, "my_drive")
    for file in drive.rglob("*.png"):
        Image.open(file).resize((1392, 512)).save(file)
    with pytest.raises(DatasetError, match=r"its images have the size S_02 of calib_cam_to_cam\.txt"):
        open_stereo(drive)


def test_unrectified_without_calibration(kitti_raw: Path) -> None:
    drive = unrectified(kitti_raw, "2011_09_26_drive_0005_extract")
    (kitti_raw / "calib_cam_to_cam.txt").unlink()
    with pytest.raises(DatasetError, match="no calibration of both cameras"):
        open_stereo(drive, rectify_images=True)


def test_paths_are_not_judged_by_their_text(kitti_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drive = kitti_raw / "2011_09_26_drive_0005_sync"
    (tmp_path / "link").symlink_to(drive)
    for place, path in ((drive, "."), (drive / "image_02", ".."), (tmp_path, "link"), (tmp_path, "2011_09_26")):
        monkeypatch.chdir(place)
        assert open_stereo(path).left_info is not None
    drive.rename(kitti_raw / "2011_09_26_drive_0005_extract")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(kitti_raw / "2011_09_26_drive_0005_extract")
    for place, path in ((kitti_raw / "2011_09_26_drive_0005_extract", "."), (tmp_path, "link")):
        monkeypatch.chdir(place)
        with pytest.raises(DatasetError, match="not rectified"):
            open_stereo(path)


def test_calibration_beside_a_link_is_found(kitti_raw: Path, tmp_path: Path) -> None:
    """Who links the drive into a folder of their own may put the calibration there."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "drive").symlink_to(kitti_raw / "2011_09_26_drive_0005_sync")
    (kitti_raw / "calib_cam_to_cam.txt").rename(tmp_path / "mine" / "calib_cam_to_cam.txt")
    assert open_stereo(tmp_path / "mine" / "drive").left_info is not None


def test_a_whole_grey_pair_beside_half_a_colour_pair(kitti_raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(next(kitti_raw.rglob("image_03")))
    with caplog.at_level(logging.WARNING):
        source = open_stereo(kitti_raw)
    assert (source.left.frame_id, len(source)) == ("camera_gray_left", 4)
    assert "image_02 has no partner image_03 beside it, so the gray cameras are taken" in caplog.text
    with pytest.raises(DatasetError, match=r"image_02 has no partner.*unpack the other one"):
        open_stereo(kitti_raw, cameras="color")


def test_grey_cameras_only(kitti_raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (2, 3):
        shutil.rmtree(next(kitti_raw.rglob(f"image_{number:02}")))
    with caplog.at_level(logging.WARNING):
        source = open_stereo(kitti_raw)
    assert source.left.encoding == "mono8"
    assert not caplog.text


def test_one_empty_line_in_the_timestamps(kitti_raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    full = [frame.stamp_ns for frame in open_stereo(kitti_raw)]
    path = next(kitti_raw.rglob("image_02/timestamps.txt"))
    lines = path.read_text().splitlines()[:4]
    path.write_text("\n".join([*lines[:2], "", *lines[2:]]) + "\n")
    with caplog.at_level(logging.WARNING):
        assert [frame.stamp_ns for frame in open_stereo(kitti_raw)] == full
    assert "line 3 is empty and was skipped" in caplog.text
    path.write_text("\n".join([*lines[:2], "", lines[3]]) + "\n")
    with pytest.raises(DatasetError, match=r"image_02/timestamps\.txt, line 3 is empty: delete it .* or put a time"):
        open_stereo(kitti_raw)


def test_truncated_png_fails_on_access_only(kitti_raw: Path) -> None:
    path = next(kitti_raw.rglob("image_02/data/0000000001.png"))
    path.write_bytes(path.read_bytes()[:200])
    source = open_stereo(kitti_raw)
    assert source[0].left.shape == source[2].left.shape
    with pytest.raises(ImageError, match=r"image_02/data/0000000001\.png"):
        _ = source[1].left
    assert source[1].right.shape == (75, 248, 3)


@pytest.mark.skipif(not REAL.exists(), reason="needs KITTI images that are not in the repository")
def test_real_drive() -> None:
    source = open_stereo(REAL)
    assert len(source) == 20
    assert source[0].left.shape == (375, 1242, 3)
    assert source[0].stamp_ns == 1_317_042_272_345_808_896
    assert source[0].right_stamp_ns - source[0].stamp_ns == -485_120
    assert source.left_info is not None
    assert source.left_info.k[0, 2] == 609.5593
    assert source.right_info is not None
    assert source.right_info.baseline_m == pytest.approx(0.5327, abs=1e-4)
