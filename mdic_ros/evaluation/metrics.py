"""Distortion of a picture against its original."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from pytorch_msssim import ms_ssim as _ms_ssim

Image = npt.NDArray[np.uint8]


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
