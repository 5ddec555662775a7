"""Metrics as reports use them, and the two of distortion: PSNR and MS-SSIM."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pytorch_msssim import ms_ssim as _ms_ssim

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageMetric:
    """A metric with a figure for each picture; a set's figure is the mean over its pictures.

    Attributes:
        name: as tables print it.
        lower_is_better: false too for a ratio that is best at 1; its meaning says so.
        meaning: one line for reports: what is measured, with what, in which unit.
        call: picture, original (H x W x 3 uint8 RGB, of one size) -> figure.
    """

    name: str
    lower_is_better: bool
    meaning: str
    call: Callable[[Image, Image], float]


@dataclass(frozen=True)
class SetMetric:
    """A metric with one figure for a set of pictures; attributes as of `ImageMetric`.

    Attributes:
        call: pictures, originals (as many, in the same order, H x W x 3 uint8 RGB each) -> figure; nan where the set
            is too small for it.
    """

    name: str
    lower_is_better: bool
    meaning: str
    call: Callable[[Sequence[Image], Sequence[Image]], float]


@dataclass(frozen=True)
class NotComputed:
    """A figure that cannot be had here, and why: what is missing and how to get it, in one line."""

    name: str
    why: str


def psnr(image: Image, original: Image) -> float:
    """PSNR in dB over all pixels and channels of two H x W x 3 uint8 images; infinite for equal ones."""
    mse = np.mean((image.astype(np.float64) - original.astype(np.float64)) ** 2)
    return math.inf if mse == 0 else float(10 * np.log10(255**2 / mse))


def ms_ssim(image: Image, original: Image) -> float:
    """MS-SSIM in 0..1 (five scales, window 7 as in the paper's protocol) of two H x W x 3 uint8 images, H > 96."""
    a, b = (torch.tensor(i).permute(2, 0, 1)[None].float() for i in (image, original))
    return float(_ms_ssim(a, b, data_range=255, win_size=7))


def decibel(similarity: float) -> float:
    """-10 log10(1 - MS-SSIM), the paper's scale."""
    return math.inf if similarity >= 1 else -10 * math.log10(1 - similarity)


def mean_ms_ssim_decibel(pictures: Sequence[Image], originals: Sequence[Image]) -> float:
    """The decibel of the mean MS-SSIM of a set, as papers give it (not the mean of the decibels)."""
    return decibel(statistics.fmean(ms_ssim(*pair) for pair in zip(pictures, originals, strict=True)))


IMAGE_METRICS = (
    ImageMetric("PSNR", False, "peak signal-to-noise ratio over all pixels and channels, dB", psnr),
    ImageMetric("MS-SSIM", False, "multi-scale structural similarity, five scales, window 7, 0 to 1", ms_ssim),
)
SET_METRICS = (SetMetric("MS-SSIM dB", False, "-10 log10(1 - mean MS-SSIM)", mean_ms_ssim_decibel),)
