"""PSNR and MS-SSIM."""

import math

import numpy as np
import pytest
from PIL import Image

from mdic_ros.evaluation.metrics import decibel, ms_ssim, psnr


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_psnr_of_a_known_error():
    image = np.full((16, 16, 3), 100, np.uint8)
    assert psnr(image, image) == math.inf
    assert psnr(image, image + 5) == pytest.approx(10 * math.log10(255**2 / 25))


def test_ms_ssim_orders_damage():
    image = np.asarray(Image.fromarray(noise(16, 32, 0)).resize((256, 128)))
    slightly = np.clip(image.astype(int) + noise(128, 256, 1) // 32, 0, 255).astype(np.uint8)
    heavily = np.clip(image.astype(int) + noise(128, 256, 1) // 2, 0, 255).astype(np.uint8)
    assert ms_ssim(image, image) == pytest.approx(1, abs=1e-5)
    assert 1 > ms_ssim(slightly, image) > ms_ssim(heavily, image)
    assert decibel(0.9) == pytest.approx(10) and decibel(1.0) == math.inf
