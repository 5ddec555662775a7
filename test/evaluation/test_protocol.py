"""Which pixels a protocol codes."""

import numpy as np
import pytest

from mdic_ros.evaluation.errors import EvaluationError
from mdic_ros.evaluation.protocol import as_coded, fixed_size, seen_share


def test_kitti_is_a_centre_crop() -> None:
    image = np.zeros((375, 1242, 3), np.uint8)
    image[2:372, 251:991] = 200
    found = as_coded(image, "kitti")
    assert found.shape == (128, 256, 3) and (found == 200).all()
    assert (
        seen_share(375, 1242, "kitti") > 0.5 > seen_share(720, 1280, "kitti")
        and seen_share(720, 1280, "cityscapes") == 1
    )
    with pytest.raises(EvaluationError, match=r"370x740.*300x1242"):
        as_coded(image[:300], "kitti")


@pytest.mark.parametrize(
    ("protocol", "shape"), [("cityscapes", (128, 256)), ("256x512", (256, 512)), ("65x131", (65, 131))]
)
def test_whole_frames_are_resized(protocol: str, shape: tuple[int, int]) -> None:
    image = np.zeros((200, 400, 3), np.uint8)
    image[:, 200:] = 255
    found = as_coded(image, protocol)
    assert found.shape == (*shape, 3) and fixed_size(protocol) == shape
    assert (found[:, 0] == 0).all() and (found[:, -1] == 255).all()  # nothing is cropped
    assert abs(found.mean() - 127.5) < 2


def test_native_is_the_image_itself() -> None:
    image = np.zeros((64, 128, 3), np.uint8)
    assert as_coded(image, "native") is image and fixed_size("native") is None
    with pytest.raises(EvaluationError, match=r"63x128.*64 to 4096"):
        as_coded(image[:63], "native")


@pytest.mark.parametrize(
    ("size", "coded"),
    [((480, 640), (128, 171)), ((720, 1280), (128, 228)), ((256, 512), (128, 256)), ((640, 480), (171, 128)),
     ((64, 64), (128, 128))],
)  # fmt: skip
def test_whole_keeps_the_aspect_ratio(size: tuple[int, int], coded: tuple[int, int]) -> None:
    assert as_coded(np.zeros((*size, 3), np.uint8), "whole").shape == (*coded, 3)
    assert fixed_size("whole") is None and seen_share(*size, "whole") == 1


def test_whole_images_that_are_too_long() -> None:
    with pytest.raises(EvaluationError, match=r"40x4000.*widths of 128 to 4096"):
        as_coded(np.zeros((40, 4000, 3), np.uint8), "whole")


@pytest.mark.parametrize("protocol", ["63x256", "128x127", "4097x256", "128x5000", "0x0"])
def test_sizes_that_the_codec_cannot_take(protocol: str) -> None:
    with pytest.raises(EvaluationError, match=f"{protocol}.*heights of 64 to 4096 and widths of 128 to 4096"):
        as_coded(np.zeros((64, 128, 3), np.uint8), protocol)


@pytest.mark.parametrize("protocol", ["", "kiti", "128", "128x", "-128x256", "128x256x3", "1e3x256"])
def test_unknown_protocols(protocol: str) -> None:
    with pytest.raises(EvaluationError, match="kitti, cityscapes, native, whole, or height x width"):
        fixed_size(protocol)
