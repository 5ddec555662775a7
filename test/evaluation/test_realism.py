"""Realism figures: zero for equal sets, worse with damage, and telling kinds of damage apart."""

import io
import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mdic_ros.evaluation.metrics import IMAGE_METRICS as DISTORTION
from mdic_ros.evaluation.metrics import SET_METRICS as SET_DISTORTION
from mdic_ros.evaluation.metrics import decibel, ms_ssim
from mdic_ros.evaluation.realism import (
    IMAGE_METRICS,
    SET_METRICS,
    gradient_distance,
    gradient_energy,
    grid,
    sliced_wasserstein,
    spectrum,
    spectrum_distance,
)


def blurred(pictures, sigma):
    return [np.asarray(Image.fromarray(p).filter(ImageFilter.GaussianBlur(sigma))) for p in pictures]


def noisy(pictures, sigma):
    rng = np.random.default_rng(5)
    return [np.clip(p + rng.normal(0, sigma, p.shape), 0, 255).round().astype(np.uint8) for p in pictures]


def resampled(pictures, factor, how):
    def one(picture):
        size = (picture.shape[1], picture.shape[0])
        small = Image.fromarray(picture).resize((size[0] // factor, size[1] // factor), Image.Resampling.BOX)
        return np.asarray(small.resize(size, how))

    return [one(p) for p in pictures]


def jpeg(pictures, quality):
    def one(picture):
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=quality)
        return np.asarray(Image.open(stream).convert("RGB"))

    return [one(p) for p in pictures]


def mean(metric, pictures, originals, **more):
    return float(np.mean([metric(p, o, **more) for p, o in zip(pictures, originals, strict=True)]))


def test_equal_sets_are_perfect(photographs):
    copies = [p.copy() for p in photographs]
    for metric in SET_METRICS:
        assert metric.call(copies, photographs) == 0, metric.name
    for metric in IMAGE_METRICS:
        best = 0 if metric.name == "gradient distance" else 1
        assert [metric.call(a, b) for a, b in zip(copies, photographs)] == [best] * 6, metric.name


@pytest.mark.parametrize("distance", [sliced_wasserstein, spectrum_distance])
def test_more_damage_is_a_larger_distance_of_sets(photographs, distance):
    for damage, amounts in ((blurred, (0.6, 1, 2, 4)), (noisy, (4, 10, 25))):
        found = [distance(damage(photographs, amount), photographs) for amount in amounts]
        assert found == sorted(found) and found[0] > 0, damage.__name__


def test_more_damage_is_a_larger_distance_of_gradients(photographs):
    for damage, amounts in ((blurred, (0.6, 1, 2, 4)), (noisy, (4, 10, 25))):
        found = [mean(gradient_distance, damage(photographs, amount), photographs) for amount in amounts]
        assert found == sorted(found) and found[0] > 0, damage.__name__


def test_gradient_energy_tells_blur_from_noise(photographs):
    ratios = [
        mean(gradient_energy, pictures, photographs)
        for pictures in (
            blurred(photographs, 2),
            blurred(photographs, 1),
            noisy(photographs, 10),
            noisy(photographs, 25),
        )
    ]
    assert ratios == sorted(ratios)
    assert ratios[1] < 0.8 and ratios[2] > 1.02


def test_sliced_wasserstein_knows_what_pixels_do_not(photographs):
    # A shifted picture has the same texture and another value at every pixel; a blurred one is the other way round.
    shifted = [np.roll(p, (3, 5), axis=(0, 1)) for p in photographs]
    soft = blurred(photographs, 2)
    psnr = DISTORTION[0].call
    assert mean(psnr, soft, photographs) > mean(psnr, shifted, photographs)
    assert sliced_wasserstein(soft, photographs) > 2 * sliced_wasserstein(shifted, photographs)


def test_sliced_wasserstein_sees_lost_contrast(photographs):
    grey = [((p.astype(float) - p.mean()) / 2 + p.mean()).astype(np.uint8) for p in photographs]
    assert sliced_wasserstein(grey, photographs) > 100


def test_spectrum_of_white_noise_is_its_variance():
    noise = np.random.default_rng(0).normal(128, 20, (128, 256)).round().astype(np.uint8)
    found = spectrum(np.stack([noise] * 3, axis=2))
    assert found.shape == (32,)
    assert found[8:] == pytest.approx(10 * math.log10(20**2), abs=2)  # few frequencies lie in the first rings
    assert found[8:].mean() == pytest.approx(10 * math.log10(20**2), abs=0.2)
    assert spectrum(np.full((64, 64, 3), 77, np.uint8)) == pytest.approx(10 * math.log10(1 / 12))


@pytest.mark.parametrize("period", [2, 8])
def test_blocks_are_a_grid(photographs, period):
    assert mean(grid, resampled(photographs, period, Image.Resampling.NEAREST), photographs, period=period) > 10


def test_blocks_of_two_are_no_grid_of_eight(photographs):
    assert mean(grid, resampled(photographs, 2, Image.Resampling.NEAREST), photographs, period=8) < 1.2


def test_grid_of_jpeg(photographs):
    found = [mean(grid, jpeg(photographs, quality), photographs, period=8) for quality in (50, 20, 5)]
    assert 1 < found[0] < found[1] < found[2] and found[2] > 1.5


def test_no_grid_in_blur_noise_or_another_photograph(photographs):
    for pictures in (blurred(photographs, 1), noisy(photographs, 10), photographs[1:] + photographs[:1]):
        for period in (2, 8):
            assert mean(grid, pictures, photographs, period=period) == pytest.approx(1, abs=0.15)


def test_seams_of_an_upsampling_are_a_grid_of_two(photographs):
    assert mean(grid, resampled(photographs, 2, Image.Resampling.BICUBIC), photographs, period=2) > 1.3


def test_flat_pictures_have_figures(photographs):
    flat = [np.full_like(p, 90) for p in photographs]
    for pictures, originals in ((flat, photographs), (photographs, flat), (flat, flat)):
        figures = [m.call(p, o) for m in IMAGE_METRICS for p, o in zip(pictures, originals)]
        figures += [m.call(pictures, originals) for m in SET_METRICS]
        assert np.isfinite(figures).all()


def test_sets_of_several_sizes(photographs):
    sizes = [p[: 128 - 13 * n, : 256 - 31 * n] for n, p in enumerate(photographs)]
    for metric in SET_METRICS:
        assert 0 == metric.call(sizes, sizes) < metric.call(blurred(sizes, 1), sizes)


def test_too_small_for_a_grid():
    with pytest.raises(ValueError, match="too small for a grid of 8"):
        grid(np.zeros((8, 20, 3), np.uint8), np.zeros((8, 20, 3), np.uint8), period=8)


def test_decibel_of_the_mean(photographs):
    soft = [*blurred(photographs[:3], 1), *blurred(photographs[3:], 3)]
    (metric,) = SET_DISTORTION
    assert metric.call(soft, photographs) == pytest.approx(decibel(mean(ms_ssim, soft, photographs)))
