"""Metrics of realism that need no pretrained network: how far a picture has the texture of a photograph.

Distortion measures how far a picture is from its original, and a blurred picture is often the best one there. The
metrics here compare statistics of patches, spectra and gradients. A blurred picture has too little fine detail, a noisy
one too much, and a decoder's grid stands out. They do not look at what a picture shows: use LPIPS, DISTS and FID for
that, if you have their networks.

Where a metric divides by an energy or takes its logarithm, the energy of rounding to 8 bits (variance 1/12) is added,
so that it is defined for flat pictures, too.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from mdic_ros.evaluation.metrics import Image, ImageMetric, SetMetric

Floats = npt.NDArray[np.float64]

ROUNDING = 1 / 12  #: variance of the error of rounding to whole grey levels

# --------------------------------------------------------------------------------------- sliced Wasserstein distance

PATCH = 7
PATCHES = 128  # of each picture and level
LEVELS = 4
DIRECTIONS = 512


def _blurred(image: Tensor, gain: float = 1.0) -> Tensor:
    """1 x C x H x W, filtered with the 5-tap binomial kernel of Burt and Adelson's pyramid."""
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    weight = (gain * torch.outer(kernel, kernel)).expand(image.shape[1], 1, 5, 5)
    return functional.conv2d(functional.pad(image, (2, 2, 2, 2), mode="reflect"), weight, groups=image.shape[1])


def _laplacian_pyramid(image: Image) -> Iterator[Tensor]:
    """C x H x W of each level from fine to coarse; the last is what the others leave over. Ends before 16 pixels."""
    level = torch.tensor(image).permute(2, 0, 1)[None].float()
    for _ in range(LEVELS - 1):
        if min(level.shape[2:]) < 32:
            break
        smaller = _blurred(level)[..., ::2, ::2]
        spread = torch.zeros_like(level)
        spread[..., ::2, ::2] = smaller
        yield (level - _blurred(spread, gain=4.0))[0]
        level = smaller
    yield level[0]


def _patches(images: Sequence[Image]) -> list[Tensor]:
    """Per level (N * PATCHES) x C x 7 x 7, cut at places that depend on the sizes alone."""
    levels: list[list[Tensor]] = []
    generator = torch.Generator().manual_seed(0)
    for image in images:
        for number, level in enumerate(_laplacian_pyramid(image)):
            places = [n - PATCH + 1 for n in level.shape[1:]]
            rows, columns = (torch.randint(n, (PATCHES, 1, 1), generator=generator) for n in places)
            inside = torch.arange(PATCH)
            cut = level[:, rows + inside[:, None], columns + inside].transpose(0, 1)
            if number == len(levels):
                levels.append([])
            levels[number].append(cut)
    return [torch.cat(level) for level in levels]


def sliced_wasserstein(pictures: Sequence[Image], originals: Sequence[Image]) -> float:
    """Sliced Wasserstein distance between the patches of two sets, times 1000 (Karras et al. 2018, arXiv 1710.10196).

    Patches of 7x7 of the levels of a Laplacian pyramid (full size, half, quarter, and the rest at an eighth) are
    projected on 512 seeded random directions; the distance is the mean difference of the sorted projections, over
    directions and levels. It differs from the paper in two points, both to suit a codec: patches are cut
    at the same places of picture and original, so equal sets are at distance 0; and both sets are normalised per
    channel by the originals' mean and deviation instead of each by its own, so lost contrast is seen.
    """
    generator = torch.Generator().manual_seed(1)
    distances = []
    for ours, theirs in zip(_patches(pictures), _patches(originals), strict=True):
        mean = theirs.mean((0, 2, 3), keepdim=True)
        deviation = (theirs.var((0, 2, 3), keepdim=True) + ROUNDING).sqrt()
        a, b = (((patches - mean) / deviation).flatten(1).T for patches in (ours, theirs))
        directions = torch.randn(DIRECTIONS, len(a), generator=generator)
        directions /= directions.norm(dim=1, keepdim=True)
        for some in directions.split(64):  # bounds the memory for large sets
            projected = (np.sort((some @ patches).numpy(), axis=1) for patches in (a, b))  # many times torch's speed
            distances.append(np.mean(np.abs(np.subtract(*projected)), dtype=np.float64))
    return 1000 * float(np.mean(distances))


# ------------------------------------------------------------------------------------------------ spectrum distance

RINGS = 32


def _grey(image: Image) -> Floats:
    """H x W luma in 0..255."""
    return image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])


@functools.lru_cache(maxsize=16)
def _rings(height: int, width: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Window (power 1 on average) and each frequency's ring, the last for those beyond half a cycle per pixel."""
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    return window / np.sqrt(np.mean(window**2)), np.minimum((radius * 2 * RINGS).astype(np.int64), RINGS)


def spectrum(image: Image) -> Floats:
    """Power of the luma in 32 rings of equal width from zero to half a cycle per pixel, in dB (Durall et al. 2020).

    Scaled so that white noise of variance v has 10 log10(v + 1/12) in every ring. The picture is windowed (Hann), or
    the jump between its opposite edges would fill the high rings.
    """
    window, ring = _rings(*image.shape[:2])
    grey = _grey(image)
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2 / grey.size
    total = np.bincount(ring.ravel(), power.ravel(), RINGS + 1)[:RINGS]
    count = np.bincount(ring.ravel(), minlength=RINGS + 1)[:RINGS]
    return 10 * np.log10(total / np.maximum(count, 1) + ROUNDING)


def spectrum_distance(pictures: Sequence[Image], originals: Sequence[Image]) -> float:
    """Root mean square over the rings of the difference between two sets' mean spectra, in dB."""
    ours, theirs = (np.mean([spectrum(image) for image in images], axis=0) for images in (pictures, originals))
    return float(np.sqrt(np.mean((ours - theirs) ** 2)))


# ------------------------------------------------------------------------------------------------------- gradients


def _gradient(image: Image) -> Floats:
    """(H - 1) x (W - 1) gradient magnitudes of the luma: differences to the right and lower neighbours."""
    grey = _grey(image)
    return np.hypot(grey[:-1, 1:] - grey[:-1, :-1], grey[1:, :-1] - grey[:-1, :-1])


def gradient_distance(picture: Image, original: Image) -> float:
    """Wasserstein-1 distance between the distributions of gradient magnitudes of two pictures of one size, grey levels.

    The distributions are compared because a few hard edges on flat ground can have the energy of a textured picture.
    The ratio of the energies is `gradient_energy`.
    """
    ours, theirs = np.sort(_gradient(picture), axis=None), np.sort(_gradient(original), axis=None)
    return float(np.mean(np.abs(ours - theirs)))


def gradient_energy(picture: Image, original: Image) -> float:
    """Mean squared gradient of a picture over its original's: below 1 blurred, above 1 noisy or over-sharp."""
    ours, theirs = (np.mean(_gradient(image) ** 2) + 4 * ROUNDING for image in (picture, original))
    return float(ours / theirs)


def _on_grid(image: Image, period: int) -> float:
    """Energy of the steps across multiples of `period` over that of the steps halfway between, in rows and columns."""
    grey = _grey(image)
    on, between = [], []
    for steps in (np.diff(grey, axis=0) ** 2, np.diff(grey, axis=1).T ** 2):
        on.append(steps[period - 1 :: period].ravel())
        between.append(steps[period // 2 - 1 :: period].ravel())
    return float((np.concatenate(on).mean() + 2 * ROUNDING) / (np.concatenate(between).mean() + 2 * ROUNDING))


def grid(picture: Image, original: Image, period: int) -> float:
    """How much more a picture steps at every `period`-th row and column than halfway between, over its original's.

    1 = no grid; blocks of `period` pixels or seams of an upsampling raise it. Steps are compared with those halfway
    between, so that a grid of 2 does not count as one of 8, too. The original's ratio cancels edges that lie there.

    Args:
        period: pixels, even.

    Raises:
        ValueError: the pictures are not larger than the period.
    """
    if min(picture.shape[:2]) <= period:
        raise ValueError(
            f"a picture of {picture.shape[0]}x{picture.shape[1]} is too small for a grid of {period} pixels"
        )
    return _on_grid(picture, period) / _on_grid(original, period)


IMAGE_METRICS = (
    ImageMetric(
        "gradient distance", True,
        "Wasserstein-1 distance between the distributions of gradient magnitudes of picture and original, grey levels",
        gradient_distance,
    ),
    ImageMetric(
        "gradient energy, picture / original", False,
        "mean squared gradient over the original's: 1 is best, below is blur, above is noise or over-sharpening",
        gradient_energy,
    ),
    *(
        ImageMetric(
            f"grid of {period}", True,
            f"steps at every {period} pixels against those halfway between, over the original's: 1 = no grid, more = "
            "blocks or seams of upsampling",
            functools.partial(grid, period=period),
        )
        for period in (8, 4, 2)
    ),
)  # fmt: skip
SET_METRICS = (
    SetMetric(
        "SWD x 1000", True,
        "sliced Wasserstein distance between 7x7 patches of Laplacian pyramids, mean of up to 4 levels (Karras et al. "
        "2018, normalised by the originals); 0 = same texture and contrast at every scale",
        sliced_wasserstein,
    ),
    SetMetric(
        "spectrum distance", True,
        "RMS difference of the mean log power spectra in rings of frequency (Durall et al. 2020), dB; 0 = as much of "
        "every fineness as the originals",
        spectrum_distance,
    ),
)  # fmt: skip
