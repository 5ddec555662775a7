"""NIQE, how natural a picture looks without an original: Mittal, Soundararajan and Bovik 2013 (IEEE SPL 20(3))."""

from __future__ import annotations

import functools
import itertools
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PilImage
from torch.nn import functional

from mdic_ros.evaluation.metrics import Image

Floats = npt.NDArray[np.float64]

BLOCK = 96  #: pixels; the published model is of blocks of this size


def _local_mean(grey: Floats) -> Floats:
    """7x7 Gaussian, sigma 7/6; edges repeated."""
    window = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    weight = torch.tensor(np.outer(window, window) / window.sum() ** 2)
    padded = functional.pad(torch.tensor(grey)[None, None], (3, 3, 3, 3), mode="replicate")
    return functional.conv2d(padded, weight[None, None])[0, 0].numpy()


def _normalised(grey: Floats) -> Floats:
    """Mean subtracted and contrast normalised (MSCN) coefficients, equation 1."""
    mean = _local_mean(grey)
    deviation = np.sqrt(np.abs(_local_mean(grey**2) - mean**2))
    return (grey - mean) / (deviation + 1)


def _halved(grey: Floats) -> Floats:
    """At half the size as by Matlab's imresize: bicubic, antialiased, mirrored at the edges. Height and width even."""
    mirrored = PilImage.fromarray(np.pad(grey, 4, mode="symmetric").astype(np.float32))
    size = (mirrored.width // 2, mirrored.height // 2)
    return np.asarray(mirrored.resize(size, PilImage.Resampling.BICUBIC), np.float64)[2:-2, 2:-2]


@functools.cache
def _shapes() -> tuple[Floats, ...]:
    """Shapes that are tried, and Gamma(1 / a), Gamma(2 / a) and Gamma(3 / a) of each."""
    shapes = np.arange(0.2, 10.001, 0.001)
    return (shapes, *(np.array([math.gamma(n / shape) for shape in shapes]) for n in (1, 2, 3)))


def _asymmetric_gaussian(block: Floats) -> tuple[float, float, float, float]:
    """Shape, mean, left and right scale of the asymmetric generalised Gaussian fitted to a block; nan if it is flat."""
    negative, positive = block[block < 0], block[block > 0]
    if not len(negative) or not len(positive):
        return math.nan, math.nan, math.nan, math.nan
    left, right = (math.sqrt(np.mean(side**2)) for side in (negative, positive))
    skew = left / right
    ratio = np.mean(np.abs(block)) ** 2 / np.mean(block**2) * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shapes, gamma1, gamma2, gamma3 = _shapes()
    best = int(np.argmin((gamma2**2 / (gamma1 * gamma3) - ratio) ** 2))
    scale = math.sqrt(gamma1[best] / gamma3[best])
    left, right = left * scale, right * scale
    return float(shapes[best]), (right - left) * gamma2[best] / gamma1[best], left, right


def _features(block: Floats) -> list[float]:
    """The 18 features of a block of MSCN coefficients at one scale."""
    shape, _, left, right = _asymmetric_gaussian(block)
    features = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        features += _asymmetric_gaussian(block * np.roll(block, shift, axis=(0, 1)))
    return features


class Niqe:
    """NIQE with the published model of pristine pictures.

    Args:
        path: .npz with mu_pris_param (1 x 36) and cov_pris_param (36 x 36).
    """

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as model:
            self.mean: Floats = model["mu_pris_param"].ravel()
            self.covariance: Floats = model["cov_pris_param"]

    def __call__(self, image: Image) -> float:
        """NIQE of an H x W x 3 uint8 RGB image, lower is more natural; nan if it has no block of 96x96 with texture.

        The luma is rounded (Matlab's rgb2gray), and rows and columns beyond whole blocks are left out, as in the
        authors' code.
        """
        return self.of_luma(np.round(image @ np.array([0.298936, 0.587043, 0.114021])))

    def of_luma(self, grey: Floats) -> float:
        """NIQE of an H x W picture in 0..255."""
        rows, columns = grey.shape[0] // BLOCK, grey.shape[1] // BLOCK
        if not rows or not columns:
            return math.nan
        grey = grey[: rows * BLOCK, : columns * BLOCK]
        scales = ((_normalised(grey), BLOCK), (_normalised(_halved(grey)), BLOCK // 2))
        features = np.array(
            [
                [f for p, n in scales for f in _features(p[row * n : (row + 1) * n, column * n : (column + 1) * n])]
                for row, column in itertools.product(range(rows), range(columns))
            ]
        )
        features = features[~np.isnan(features).any(axis=1)]
        if not len(features):
            return math.nan
        covariance = np.cov(features, rowvar=False) if len(features) > 1 else np.zeros_like(self.covariance)
        difference = features.mean(axis=0) - self.mean
        return float(np.sqrt(difference @ np.linalg.pinv((self.covariance + covariance) / 2) @ difference))
