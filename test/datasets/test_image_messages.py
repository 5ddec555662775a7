import io
import struct
import sys
import textwrap
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mdic_ros.datasets import cv_bridge
from mdic_ros.datasets.images import ENCODINGS, from_compressed_message, from_image_message
from mdic_ros.errors import ImageError
from mdic_ros.nodes.image_conversion import fill_image


def to_rgb(message) -> np.ndarray:
    return from_image_message(message, "image")


def file_to_rgb(message) -> np.ndarray:
    return from_compressed_message(message, "compressed image")


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def as_encoding(rgb: np.ndarray, encoding: str) -> np.ndarray:
    alpha = np.full((*rgb.shape[:2], 1), 7, np.uint8)
    return {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "rgba8": np.concatenate([rgb, alpha], 2),
        "bgra8": np.concatenate([rgb[..., ::-1], alpha], 2),
        "mono8": rgb[..., :1],
        "8UC1": rgb[..., :1],
        "8UC3": rgb[..., ::-1],
    }[encoding]


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (65, 129), (375, 1242)])
@pytest.mark.parametrize("padding", [0, 1, 2, 13])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_odd_sizes_and_padded_rows(image_message, encoding, padding, size):
    rgb = picture(*size)
    if encoding in ("mono8", "8UC1"):
        rgb = np.repeat(rgb[..., :1], 3, axis=2)
    converted = to_rgb(image_message(as_encoding(rgb, encoding), encoding, padding))
    assert converted.dtype == np.uint8
    assert converted.flags.c_contiguous
    np.testing.assert_array_equal(converted, rgb)


def test_byte_order_means_nothing_for_bytes(image_message):
    rgb = picture(4, 6)
    np.testing.assert_array_equal(to_rgb(image_message(rgb, "rgb8", is_bigendian=1)), rgb)


def test_the_last_row_may_lack_its_padding(image_message):
    rgb = picture(4, 5)
    message = image_message(rgb, "rgb8", padding=3)
    message.data = message.data[:-3]
    np.testing.assert_array_equal(to_rgb(message), rgb)


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 0},
        {"width": 0},
        {"height": 5},
        {"height": 2**32 - 1},
        {"width": 2**32 - 1, "step": 2**32 - 1},
        {"height": 2**32 - 1, "width": 2**32 - 1, "step": 2**32 - 1},
        {"height": 2**32 - 1, "step": 0},
        {"step": 17},
        {"step": 0},
        {"data": b""},
        {"encoding": "rgba8"},
        {"encoding": ""},
        {"encoding": "32FC1"},
    ],
)
def test_sizes_that_do_not_agree_are_refused(image_message, changes):
    with pytest.raises(ImageError):
        to_rgb(image_message(picture(4, 6), "rgb8", **changes))


@settings(max_examples=300, deadline=None)
@given(
    height=st.integers(0, 2**32 - 1),
    width=st.integers(0, 2**32 - 1),
    step=st.integers(0, 2**32 - 1),
    data=st.binary(max_size=200),
    encoding=st.sampled_from(sorted(ENCODINGS)),
)
def test_hostile_messages_cost_nothing(height, width, step, data, encoding):
    message = SimpleNamespace(height=height, width=width, step=step, data=data, encoding=encoding, is_bigendian=0)
    try:
        converted = to_rgb(message)
    except ImageError:
        return
    assert converted.shape == (height, width, 3)
    assert converted.size <= 3 * len(data)


def compressed(rgb: np.ndarray, form: str, **options: object) -> SimpleNamespace:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, form, **options)
    return SimpleNamespace(format=f"rgb8; {form.lower()} compressed bgr8", data=buffer.getvalue())


def test_png_is_exact_and_jpeg_is_close():
    rgb = np.asarray(Image.fromarray(picture(5, 7)).resize((71, 53), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(file_to_rgb(compressed(rgb, "PNG")), rgb)
    close = file_to_rgb(compressed(rgb, "JPEG", quality=95, subsampling=0))
    assert close.shape == rgb.shape
    assert np.abs(close.astype(int) - rgb).mean() < 3


def test_nodes_take_what_files_and_bags_may_hold():
    rgb = picture(8, 9)
    np.testing.assert_array_equal(file_to_rgb(compressed(rgb, "WEBP", lossless=True)), rgb)
    with pytest.raises(ImageError, match=r"^compressed image: .*'h264' is a piece of a video"):
        file_to_rgb(SimpleNamespace(format="h264", data=b"\0\0\0\1g" + bytes(99)))


def test_grey_and_transparent_files():
    grey = picture(8, 9)[..., 0]
    assert file_to_rgb(compressed(grey, "JPEG")).shape == (8, 9, 3)
    rgba = np.concatenate([picture(8, 9), np.full((8, 9, 1), 9, np.uint8)], 2)
    assert file_to_rgb(compressed(rgba, "PNG")).shape == (8, 9, 3)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def huge_png() -> bytes:
    """A PNG of 200 bytes that claims 100000 x 100000 pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a" + bytes(50),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        huge_png(),
        compressed(picture(64, 64), "PNG").data[:-500],
        compressed(picture(64, 64), "JPEG").data[:200],
    ],
)
def test_damaged_foreign_and_hostile_files_are_refused(data):
    with pytest.raises(ImageError):
        file_to_rgb(SimpleNamespace(format="png", data=data))


def test_filling_a_message_is_the_inverse():
    for array, encoding in (
        (picture(5, 7), "rgb8"),
        (picture(5, 7)[:, ::-1], "rgb8"),
        (picture(5, 7)[..., 0], "mono8"),
    ):
        message = SimpleNamespace()
        fill_image(message, array, encoding)
        assert message.step * message.height == len(message.data)
        rgb = array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
        np.testing.assert_array_equal(to_rgb(message), rgb)


# A stand-in for cv_bridge, which no wheel has: what is tested is when it is used, and what is believed of it.
CV_BRIDGE = """
import numpy as np
class CvBridge:
    def imgmsg_to_cv2(self, message, encoding):
        {body}
"""


@pytest.fixture
def install_cv_bridge(tmp_path, monkeypatch):
    """Makes a package cv_bridge with the given body of imgmsg_to_cv2, and sensor_msgs for its probe."""

    def install(body: str) -> None:
        (tmp_path / "cv_bridge.py").write_text(CV_BRIDGE.format(body=body))
        fake = tmp_path / "sensor_msgs"
        fake.mkdir()
        (fake / "__init__.py").write_text("")
        (fake / "msg.py").write_text(
            textwrap.dedent("""
            from types import SimpleNamespace
            def Image(**fields): return SimpleNamespace(**fields)
            """)
        )
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    cv_bridge.cv_bridge_works.cache_clear()
    yield install
    cv_bridge.cv_bridge_works.cache_clear()
    sys.modules.pop("cv_bridge", None)


REVERSED = "return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, -1)[..., 2::-1]"


def test_cv_bridge_serves_the_other_encodings(image_message, install_cv_bridge):
    install_cv_bridge(REVERSED)
    rgb = picture(4, 6)
    message = image_message(rgb[..., ::-1], "some_bayer")
    np.testing.assert_array_equal(to_rgb(message), rgb)
    message.height = 2**31
    with pytest.raises(ImageError, match="do not hold"):
        to_rgb(message)


@pytest.mark.parametrize(
    "body",
    [
        "import os; os.abort()",  # as one compiled for another numpy does
        "raise ImportError('numpy.core.multiarray failed to import')",
        "return np.zeros((1, 1, 3), np.uint8)",
    ],
)
def test_a_cv_bridge_that_does_not_work_is_not_used(image_message, install_cv_bridge, body):
    install_cv_bridge(body)
    assert not cv_bridge.cv_bridge_works()
    with pytest.raises(ImageError, match="cv_bridge, which knows more"):
        to_rgb(image_message(picture(4, 6), "yuv422"))
    to_rgb(image_message(picture(4, 6), "rgb8"))
