"""Images at the public boundary, and as the networks take them."""

import numpy as np
import pytest

from mdic_ros.codec.images import check_image, mirrored, resize_image, to_pixels
from mdic_ros.errors import ImageError


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (np.zeros((128, 256), np.uint8), r"uint8 \(128, 256\)"),
        (np.zeros((128, 256, 4), np.uint8), r"uint8 \(128, 256, 4\)"),
        (np.zeros((128, 256, 3), np.float32), r"float32 \(128, 256, 3\)"),
        ([[1, 2, 3]], "list"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image(image, what):
    for function in (check_image, to_pixels):
        with pytest.raises(ImageError, match=f"H x W x 3 uint8 RGB array, not {what}"):
            function(image)


def test_pixels_are_scaled_and_padded_by_the_border(scene):
    image = scene(65, 200)
    image[0, 0], image[-1, -1] = (0, 255, 51), (255, 0, 102)
    pixels = to_pixels(image)
    assert pixels.shape == (1, 3, 128, 256) and pixels.dtype == np.float32 and pixels.flags.c_contiguous
    assert pixels[0, :, 0, 0] == pytest.approx([-1, 1, -0.6]) and pixels.min() >= -1 and pixels.max() <= 1
    assert np.array_equal(np.rint((pixels[0, :, :65, :200] + 1) * 127.5), image.transpose(2, 0, 1))
    assert (pixels[0, :, 64:, 199:] == pixels[0, :, 64:65, 199:200]).all()
    assert (pixels[0, :, 65:, :] == pixels[0, :, 64:65, :]).all()
    assert (pixels[0, :, :, 200:] == pixels[0, :, :, 199:200]).all()


def test_a_mirror_comes_before_the_padding(scene):
    image = scene(64, 130)
    assert np.array_equal(to_pixels(image, mirror=True), to_pixels(mirrored(image)))
    assert np.array_equal(mirrored(mirrored(image)), image) and mirrored(image).flags.c_contiguous
    assert np.array_equal(mirrored(image)[:, 0], image[:, -1])


def test_read_only_and_strided_images(scene):
    image = scene(64, 128)
    image.setflags(write=False)
    assert np.array_equal(to_pixels(image[::-1, ::-1]), to_pixels(image[::-1, ::-1].copy()))


def test_resizing(scene):
    image = scene(64, 128)
    assert resize_image(image, 64, 128) is image
    assert resize_image(image, 32, 200).shape == (32, 200, 3)
    flat = np.full((40, 50, 3), 123, np.uint8)
    np.testing.assert_array_equal(resize_image(flat, 8, 100), np.full((8, 100, 3), 123))
