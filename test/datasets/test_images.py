from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mdic_ros.codec.images import resize_image
from mdic_ros.datasets.images import (
    encode_image,
    from_compressed_message,
    from_image_message,
    image_size,
    read_image,
    to_encoding,
)
from mdic_ros.errors import ImageError

PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def image_message(encoding: str, pixels: np.ndarray, padding: int = 0) -> SimpleNamespace:
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)), constant_values=77)
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        step=rows.shape[1],
        is_bigendian=0,
        data=rows.reshape(-1),
    )


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_encodings(encoding: str, padding: int) -> None:
    alpha = np.full((5, 7, 1), 9, np.uint8)
    pixels = {
        "rgb8": PICTURE,
        "bgr8": PICTURE[..., ::-1],
        "rgba8": np.concatenate([PICTURE, alpha], 2),
        "bgra8": np.concatenate([PICTURE[..., ::-1], alpha], 2),
        "mono8": PICTURE[..., :1],
    }[encoding]
    expected = np.repeat(PICTURE[..., :1], 3, 2) if encoding == "mono8" else PICTURE
    np.testing.assert_array_equal(from_image_message(image_message(encoding, pixels, padding), "x"), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"encoding": "yuv422"},
        {"height": 6},
        {"width": 8},
        {"step": 20},
        {"height": 0},
        {"width": 0},
        {"height": 2**32 - 1, "width": 2**32 - 1},
        {"step": 2**32 - 1},
        {"data": np.zeros(0, np.uint8)},
    ],
)
def test_hostile_image_messages(changes: dict[str, object]) -> None:
    message = image_message("rgb8", PICTURE)
    message.__dict__.update(changes)
    with pytest.raises(ImageError, match=r"^camera"):
        from_image_message(message, "camera")


def test_last_row_needs_no_padding() -> None:
    message = image_message("rgb8", PICTURE, padding=3)
    message.data = message.data[:-3]
    np.testing.assert_array_equal(from_image_message(message, "x"), PICTURE)


def test_compressed_round_trip_and_damage() -> None:
    data = encode_image(PICTURE, "png")
    message = SimpleNamespace(format="png", data=np.frombuffer(data, np.uint8))
    np.testing.assert_array_equal(from_compressed_message(message, "x"), PICTURE)
    assert from_compressed_message(SimpleNamespace(data=encode_image(PICTURE, "jpeg")), "x").shape == (
        5,
        7,
        3,
    )
    for damaged in (
        data[:-60],
        data[:10],
        b"",
        b"\0" * 100,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ):
        with pytest.raises(ImageError, match=r"^camera"):
            from_compressed_message(SimpleNamespace(data=damaged), "camera")


def test_huge_png_is_refused_before_it_is_decoded() -> None:
    data = bytearray(encode_image(PICTURE, "png"))
    data[16:24] = (200_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(ImageError, match=r"^camera"):
        from_compressed_message(SimpleNamespace(data=bytes(data)), "camera")


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK"])
def test_file_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    Image.fromarray(PICTURE).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (5, 7, 3)
    assert image.dtype == np.uint8
    assert image_size(path) == (5, 7)


def test_broken_files_are_named(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    good.write_bytes(encode_image(PICTURE, "png"))
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:-30])
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(deep)
    for path in (cut, deep, tmp_path / "missing.png", tmp_path):
        with pytest.raises(ImageError) as error:
            read_image(path)
        assert str(path) in str(error.value)


def test_grey_pictures_survive_mono8() -> None:
    grey = np.repeat(PICTURE[..., :1], 3, 2)
    np.testing.assert_array_equal(to_encoding(grey, "mono8"), grey[..., 0])
    np.testing.assert_array_equal(to_encoding(PICTURE, "bgr8"), PICTURE[..., ::-1])
    luma = to_encoding(PICTURE, "mono8").astype(float)
    np.testing.assert_allclose(luma, PICTURE @ [0.299, 0.587, 0.114], atol=1)


def test_resize() -> None:
    assert resize_image(PICTURE, 5, 7) is PICTURE
    flat = np.full((40, 60, 3), 123, np.uint8)
    np.testing.assert_array_equal(resize_image(flat, 8, 100), np.full((8, 100, 3), 123))
