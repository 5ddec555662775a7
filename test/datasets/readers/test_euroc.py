"""EuRoC and TUM-VI, made on the spot: bright spots in space, seen by two cameras with distortion."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from mdic_ros.datasets import DatasetError, StereoFrame, detect_layout, open_stereo, write_bag
from mdic_ros.datasets.readers.euroc import _read_rig
from mdic_ros.datasets.rectify import rectifying_pair
from mdic_ros.errors import ImageError

cv2 = pytest.importorskip("cv2")

HEIGHT, WIDTH = 240, 376  # half of EuRoC's
K = ((229.3, 228.6, 183.6, 124.2), (228.8, 227.9, 189.9, 127.6))
RADTAN = ((-0.283, 0.0740, 0.0002, 0.00002), (-0.283, 0.0745, -0.0001, -0.00004))
EQUIDISTANT = ((0.0034, 0.0007, -0.0021, 0.0002), (0.0034, 0.0018, -0.0027, 0.0003))
#: Rotation and place of the right camera in the left one: EuRoC's 11 cm, and half a degree.
TURN = (0.007, -0.004, 0.009)
BODY = cv2.Rodrigues(np.array([0.3, -1.2, 0.4]))[0]


def pose(turn: tuple[float, float, float], place: tuple[float, float, float]) -> np.ndarray:
    """4x4 from camera to body."""
    matrix = np.eye(4)
    matrix[:3, :3] = BODY @ cv2.Rodrigues(np.array(turn, float))[0]
    matrix[:3, 3] = BODY @ np.array(place)
    return matrix


POSES = pose((0, 0, 0), (0, 0, 0)), pose(TURN, (0.11, 0.001, -0.0006))
#: In the coordinates of the left camera.
SPOTS = np.array([(x, y, z) for x in (-1.0, 0.1, 1.1) for y in (-0.6, 0.0, 0.7) for z in (3.0,)]) + np.linspace(
    0, 0.2, 9
).reshape(9, 1)


def draw(camera: int, model: str) -> np.ndarray:
    """H x W uint8 picture of the spots."""
    k = np.array([[K[camera][0], 0, K[camera][2]], [0, K[camera][1], K[camera][3]], [0, 0, 1]])
    there = np.linalg.inv(POSES[camera]) @ POSES[0] @ np.vstack([SPOTS.T, np.ones(9)])
    points, zero = np.ascontiguousarray(there[:3].T).reshape(-1, 1, 3), np.zeros(3)
    if model == "equidistant":
        pixels, _ = cv2.fisheye.projectPoints(points, zero, zero, k, np.array(EQUIDISTANT[camera]))
    else:
        pixels, _ = cv2.projectPoints(points, zero, zero, k, np.array(RADTAN[camera]))
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    picture = sum(np.exp(-((u - x) ** 2 + (v - y) ** 2) / 4) for x, y in pixels.reshape(-1, 2))
    return np.asarray(np.clip(255 * picture, 0, 255)).astype(np.uint8)


def sensor(camera: int, model: str) -> dict[str, Any]:
    return {
        "sensor_type": "camera",
        "T_BS": {"cols": 4, "rows": 4, "data": POSES[camera].ravel().tolist()},
        "rate_hz": 20,
        "resolution": [WIDTH, HEIGHT],
        "camera_model": "pinhole",
        "intrinsics": list(K[camera]),
        "distortion_model": model,
        "distortion_coefficients": list((EQUIDISTANT if model == "equidistant" else RADTAN)[camera]),
    }


STAMPS = [1_403_636_579_763_555_584 + i * 50_000_000 for i in range(3)]


def make(root: Path, model: str = "radial-tangential") -> Path:
    """A sequence of three frames with sensor.yaml."""
    for camera in (0, 1):
        folder = root / "mav0" / f"cam{camera}"
        (folder / "data").mkdir(parents=True)
        picture = Image.fromarray(draw(camera, model))
        for stamp in STAMPS:
            picture.save(folder / "data" / f"{stamp}.png")
        rows = "".join(f"{stamp},{stamp}.png\r\n" for stamp in STAMPS)
        (folder / "data.csv").write_text(f"#timestamp [ns],filename\r\n{rows}")
        (folder / "sensor.yaml").write_text("# comment\n" + yaml.safe_dump(sensor(camera, model)))
    return root


@pytest.fixture
def euroc(tmp_path: Path) -> Path:
    return make(tmp_path / "MH_01_easy")


def check_spots(frame: StereoFrame, sequence: Path) -> None:
    """Every spot is where the calibration of the rectified images says: on one row, apart by the baseline."""
    rig = _read_rig(sequence / "mav0")
    assert rig is not None
    turn = rectifying_pair(*rig)[0].r
    seen = 0
    for info, image in ((frame.left_info, frame.left), (frame.right_info, frame.right)):
        assert info is not None
        found = info.p @ np.vstack([turn @ SPOTS.T, np.ones(9)])
        for x, y in (found[:2] / found[2]).T:
            left, top = round(x) - 4, round(y) - 4
            if 0 <= left <= info.width - 9 and 0 <= top <= info.height - 9:
                patch = image[top : top + 9, left : left + 9, 0].astype(float)
                v, u = np.mgrid[:9, :9]
                assert patch.max() > 100
                assert (patch * u).sum() / patch.sum() + left == pytest.approx(x, abs=0.25)
                assert (patch * v).sum() / patch.sum() + top == pytest.approx(y, abs=0.25)
                seen += 1
    assert seen >= 14


@pytest.mark.parametrize("below", ["", "mav0", ".."])
def test_found_from_above_and_below(euroc: Path, below: str) -> None:
    path = euroc / below
    assert detect_layout(path) == "euroc"
    with open_stereo(path, rectify_images=False) as source:
        assert (source.layout, len(source)) == ("euroc", 3)
        assert [frame.stamp_ns for frame in source] == [frame.right_stamp_ns for frame in source] == STAMPS
        assert source[1].name == str(STAMPS[1])
        assert (source.left.topic, source.left.frame_id, source.left.encoding) == ("/cam0/image_raw", "cam0", "mono8")
        assert source.left_info is not None
        assert source.left_info.d == RADTAN[0]


def test_refused_with_the_way_out(euroc: Path) -> None:
    with pytest.raises(DatasetError, match=r"D is not 0 in the calibration of cam0.*add --rectify-images"):
        open_stereo(euroc)


@pytest.mark.parametrize("model", ["radial-tangential", "equidistant"])
def test_rectified_by_its_calibration(tmp_path: Path, model: str) -> None:
    make(tmp_path, model)
    with open_stereo(tmp_path, rectify_images=True) as source:
        frame = source[1]
        frame.check()
        assert source.right_info is not None
        assert source.right_info.baseline_m == pytest.approx(0.11, abs=1e-3)
        assert source.left.topic == "/cam0/image_rect"
        assert frame.left_path is None
        check_spots(frame, tmp_path)
        assert write_bag(source, tmp_path / "bag").frames == 3
    with open_stereo(tmp_path / "bag") as bag:
        np.testing.assert_array_equal(bag[1].left, frame.left)
        assert bag.right_info is not None
        assert bag.right_info.same_as(source.right_info)


def test_a_bag_of_images_as_they_are_can_be_rectified_later(euroc: Path, tmp_path: Path) -> None:
    with open_stereo(euroc, rectify_images=False) as source:
        write_bag(source, tmp_path / "bag")
    with pytest.raises(DatasetError, match="D is not 0 in the camera_info of /cam0/image_raw"):
        open_stereo(tmp_path / "bag")
    with open_stereo(tmp_path / "bag", rectify_images=True) as bag, open_stereo(euroc, rectify_images=True) as source:
        np.testing.assert_array_equal(bag[0].right, source[0].right)
        assert source.right_info is not None
        assert source.right_info.same_as(bag.right_info)


def test_calibration_of_kalibr(tmp_path: Path) -> None:
    """TUM-VI has no sensor.yaml but dso/camchain.yaml."""
    make(tmp_path, "equidistant")
    chain = {}
    for camera in (0, 1):
        (tmp_path / "mav0" / f"cam{camera}" / "sensor.yaml").unlink()
        of = sensor(camera, "equidistant")
        chain[f"cam{camera}"] = {
            "T_cam_imu": np.linalg.inv(POSES[camera]).tolist(),
            "camera_model": "pinhole",
            "distortion_coeffs": of["distortion_coefficients"],
            "distortion_model": "equidistant",
            "intrinsics": of["intrinsics"],
            "resolution": of["resolution"],
        }
    with pytest.raises(DatasetError, match=r"no calibration.*--rectify-images"):
        open_stereo(tmp_path)
    with pytest.raises(DatasetError, match="no calibration of both cameras"):
        open_stereo(tmp_path, rectify_images=True)
    (tmp_path / "dso").mkdir()
    file = tmp_path / "dso" / "camchain.yaml"
    file.write_text(yaml.safe_dump(chain))
    check_spots(open_stereo(tmp_path, rectify_images=True)[0], tmp_path)
    chain["cam1"]["T_cn_cnm1"] = (np.linalg.inv(POSES[1]) @ POSES[0]).tolist()
    file.write_text(yaml.safe_dump(chain))
    check_spots(open_stereo(tmp_path / "mav0", rectify_images=True)[0], tmp_path)


@pytest.mark.parametrize("rectify", [False, True])
def test_of_sixteen_bits_the_upper_ones_are_taken(tmp_path: Path, rectify: bool) -> None:
    """TUM-VI as downloaded gives what the same pictures give in 8 bits."""
    seen = []
    for name in ("8", "16"):
        sequence = make(tmp_path / name, "equidistant")
        for file in sequence.rglob("*.png") if name == "16" else ():
            deep = np.asarray(Image.open(file)).astype(np.uint16) * 256 + 77
            Image.fromarray(deep).save(file)
        with open_stereo(sequence, rectify_images=rectify) as source:
            assert source.left.encoding == "mono8"
            seen.append([image for frame in source for image in (frame.left, frame.right)])
            assert write_bag(source, tmp_path / f"bag{name}").frames == 3
            write_bag(source, tmp_path / f"png{name}", images="png")
    for one, two in zip(*seen, strict=True):
        np.testing.assert_array_equal(one, two)
    for written in ("bag16", "png16"):
        with open_stereo(tmp_path / written, rectify_images=False) as bag:
            np.testing.assert_array_equal(bag[2].right, seen[0][5])


def test_a_damaged_first_image_of_sixteen_bits_is_one_frame(euroc: Path) -> None:
    for file in euroc.rglob("*.png"):
        Image.fromarray(np.full((HEIGHT, WIDTH), 40_000, np.uint16)).save(file)
    (euroc / "mav0" / "cam0" / "data" / f"{STAMPS[0]}.png").write_bytes(b"x")
    with open_stereo(euroc, rectify_images=False) as source:
        assert (source[1].left == 156).all()
        with pytest.raises(ImageError, match=str(STAMPS[0])):
            _ = source[0].left


def test_pairs_that_are_rectified_already(euroc: Path) -> None:
    """Simulators write this layout, too."""
    for camera in (0, 1):
        of = sensor(camera, "radial-tangential")
        of["distortion_coefficients"], of["intrinsics"] = [0.0] * 4, [230.0, 230.0, 180.0, 120.0]
        of["T_BS"]["data"] = pose((0, 0, 0), (0.2 * camera, 0, 0)).ravel().tolist()
        (euroc / "mav0" / f"cam{camera}" / "sensor.yaml").write_text("%YAML:1.0\n" + yaml.safe_dump(of))
    with open_stereo(euroc) as source:
        assert source.right_info is not None
        assert source.right_info.baseline_m == pytest.approx(0.2)
        assert source[0].left_path is not None


def test_images_without_partner_and_missing_ones(euroc: Path, caplog: pytest.LogCaptureFixture) -> None:
    index = euroc / "mav0" / "cam1" / "data.csv"
    index.write_text("".join(index.read_text().splitlines(keepends=True)[:-1]))
    (euroc / "mav0" / "cam0" / "data" / f"{STAMPS[0]}.png").unlink()
    with caplog.at_level(logging.WARNING), open_stereo(euroc, rectify_images=False) as source:
        assert [frame.stamp_ns for frame in source] == [STAMPS[1]]
        assert source.unpaired == (1, 1)
    assert "1 of 3 images that data.csv lists are not there" in caplog.text
    assert "1 images of cam0 and 1 of cam1 have no partner" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,../../../etc/passwd\n", "line 1: expected a time in ns"),
        ("x,1.png\n", "line 1"),
        ("#timestamp\n\n5\n", "line 3"),
        ("#timestamp\n", "none of the 0 images"),
        ("5,6.png\n", "none of the 1 images.*unpack them"),
    ],
)
def test_hostile_indices(euroc: Path, text: str, words: str) -> None:
    (euroc / "mav0" / "cam0" / "data.csv").write_text(text)
    with pytest.raises(DatasetError, match=rf"cam0.*{words}"):
        open_stereo(euroc)


@pytest.mark.parametrize(
    "change",
    [
        {"T_BS": {"data": [1, 2]}},
        {"T_BS": {"data": [0.0] * 16}},
        {"intrinsics": [1, 2, 3]},
        {"intrinsics": [-1, 2, 3, 4]},
        {"intrinsics": [float("nan"), 2, 3, 4]},
        {"resolution": [0, 0]},
        {"camera_model": "omni"},
        {"distortion_model": "none of them"},
        {"distortion_coefficients": None},
    ],
)
def test_broken_calibrations_are_named(euroc: Path, change: dict[str, Any]) -> None:
    file = euroc / "mav0" / "cam1" / "sensor.yaml"
    file.write_text(yaml.safe_dump({**sensor(1, "radial-tangential"), **change}))
    with pytest.raises(DatasetError, match=r"cam1/sensor\.yaml"):
        open_stereo(euroc, rectify_images=True)


def test_a_damaged_image_is_one_frame(euroc: Path) -> None:
    (euroc / "mav0" / "cam0" / "data" / f"{STAMPS[0]}.png").write_bytes(b"x")
    with open_stereo(euroc, rectify_images=True) as source:
        assert source[1].left.shape == (HEIGHT, WIDTH, 3)
        with pytest.raises(ImageError, match=str(STAMPS[0])):
            _ = source[0].left
