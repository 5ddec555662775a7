from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mdic_ros.datasets.images import (
    ENCODINGS,
    encode_image,
    format_problem,
    from_compressed_message,
    from_image_message,
    grey_bits,
    image_size,
    read_deep_grey,
    read_image,
    read_image_bytes,
    stored_form,
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
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings(encoding: str, padding: int) -> None:
    alpha = np.full((5, 7, 1), 9, np.uint8)
    pixels = {
        "rgb8": PICTURE,
        "bgr8": PICTURE[..., ::-1],
        "rgba8": np.concatenate([PICTURE, alpha], 2),
        "bgra8": np.concatenate([PICTURE[..., ::-1], alpha], 2),
        "mono8": PICTURE[..., :1],
        "8UC1": PICTURE[..., :1],
        "8UC3": PICTURE[..., ::-1],
    }[encoding]
    expected = np.repeat(PICTURE[..., :1], 3, 2) if encoding in ("mono8", "8UC1") else PICTURE
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


def rotated(picture: np.ndarray, orientation: int, form: str = "PNG") -> bytes:
    """A file whose EXIF says how to turn it, so that it shows `picture`."""
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(
        buffer, form, exif=exif, **({"lossless": True} if form == "WEBP" else {})
    )
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_exif_says(tmp_path: Path, orientation: int, form: str) -> None:
    data = rotated(PICTURE, orientation, form)
    path = tmp_path / "x.png"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path), PICTURE)
    np.testing.assert_array_equal(from_compressed_message(SimpleNamespace(format="", data=data), "x"), PICTURE)
    assert image_size(path) == (5, 7)
    assert stored_form(path) == (form.lower() if orientation == 1 else None)


def test_jpegs_are_turned_too() -> None:
    image = Image.fromarray(PICTURE).resize((128, 64))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", quality=95, subsampling=0, exif=exif)
    got = read_image_bytes(buffer.getvalue(), "x")
    assert got.shape == (64, 128, 3)
    assert np.abs(got.astype(int) - np.asarray(image)).mean() < 4


def test_damaged_exif_does_no_harm() -> None:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, "PNG", exif=b"Exif\0\0" + b"\xff" * 40)
    np.testing.assert_array_equal(read_image_bytes(buffer.getvalue(), "x"), PICTURE)


def png(pixels: np.ndarray, kind: int) -> bytes:
    """A PNG with as many bits per channel as the array; Pillow cannot write most of these."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(f">u{pixels.itemsize}").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("channels", "kind"), [(1, 0), (2, 4), (3, 2), (4, 6)])
def test_16_bits_are_refused_whatever_the_colours(tmp_path: Path, channels: int, kind: int) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png(np.full((8, 8, channels), 4095, np.uint16), kind))
    message = SimpleNamespace(format="rgb16; png compressed", data=path.read_bytes())
    for read in (lambda: read_image(path), lambda: image_size(path), lambda: from_compressed_message(message, "x")):
        with pytest.raises(ImageError, match=r"more than 8 bits per channel.*mogrify"):
            read()
    assert read_image_bytes(png(np.full((8, 8, channels), 200, np.uint8), kind), "x").max() == 200


VIDEO = b"\0\0\0\1g" + bytes(99)


@pytest.mark.parametrize(
    ("form", "data", "words"),
    [
        ("h264", VIDEO, "a piece of a video.*republish"),
        ("hevc;nv12;bgr8", VIDEO, "a piece of a video"),
        ("16UC1; compressedDepth png", bytes(12) + b"\x89PNG\r\n\x1a\n", "holds distances"),
        ("jpeg", VIDEO, "format 'jpeg' is neither JPEG, PNG nor WebP"),
        ("x" * 300, b"", "neither"),
        ("png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
        ("jpeg", encode_image(PICTURE, "jpeg")[:200], "damaged"),
        ("webp", b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "damaged"),
    ],
)
def test_what_is_no_picture_is_named_and_has_a_way_out(form: str, data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words) as error:
        from_compressed_message(SimpleNamespace(format=form, data=data), "camera")
    assert str(error.value).startswith("camera")
    assert "BytesIO" not in str(error.value)
    assert len(str(error.value)) < 300


def test_the_bytes_decide_not_the_format() -> None:
    message = SimpleNamespace(format="rgb8; jpeg compressed bgr8", data=encode_image(PICTURE, "png"))
    np.testing.assert_array_equal(from_compressed_message(message, "x"), PICTURE)


def test_the_mosaic_of_a_bayer_sensor_is_no_picture() -> None:
    form = "bayer_rggb8; png compressed bayer_rggb8"
    mosaic = png(np.zeros((8, 8, 1), np.uint8), 0)
    with pytest.raises(ImageError, match=r"Bayer mosaic.*image_proc"):
        from_compressed_message(SimpleNamespace(format=form, data=mosaic), "x")
    grey = SimpleNamespace(format="mono8; png compressed ", data=mosaic)
    assert from_compressed_message(grey, "x").shape == (8, 8, 3)
    colours = SimpleNamespace(format=form, data=encode_image(PICTURE, "png"))
    np.testing.assert_array_equal(from_compressed_message(colours, "x"), PICTURE)


def test_formats_that_contradict_the_picture() -> None:
    for form in ("jpeg", "png", "bgr8; jpeg compressed bgr8", "rgb8; jpeg compressed bgr8", "mono8; jpeg compressed "):
        assert format_problem(form) == ""
    assert "red and blue" in format_problem("rgb8; jpeg compressed rgb8")


def test_what_a_file_is_does_not_follow_from_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encode_image(PICTURE, "jpeg"))
    assert stored_form(path) == "jpeg"
    assert read_image(path).shape == (5, 7, 3)
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    for read in (read_image, image_size, stored_form, grey_bits):
        with pytest.raises(ImageError, match="git lfs pull"):
            read(path)


@pytest.mark.parametrize(
    ("image", "bits"), [(PICTURE[..., 0], 8), (PICTURE, 0), (PICTURE[..., 0].astype(np.uint16) * 257, 16)]
)
def test_grey_files(tmp_path: Path, image: np.ndarray, bits: int) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(image).save(path)
    assert grey_bits(path) == bits
    expected = PICTURE if bits == 0 else np.repeat(PICTURE[..., :1], 3, 2)
    np.testing.assert_array_equal(read_deep_grey(path), expected)


@pytest.mark.parametrize(("value", "upper"), [(0, 0), (255, 0), (256, 1), (40_000, 156), (65_535, 255)])
def test_of_16_bits_the_upper_8_are_taken(tmp_path: Path, value: int, upper: int) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png(np.full((4, 8, 1), value, np.uint16), 0))
    assert (read_deep_grey(path) == upper).all() and read_deep_grey(path).shape == (4, 8, 3)
    for colours in (2, 4, 6):  # of these Pillow would keep 8 bits unasked
        path.write_bytes(png(np.full((4, 8, {2: 3, 4: 2, 6: 4}[colours]), value, np.uint16), colours))
        with pytest.raises(ImageError, match="more than 8 bits"):
            read_deep_grey(path)
