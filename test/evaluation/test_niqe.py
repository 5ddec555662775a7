"""NIQE: its parts against what is known of them, and the whole against pictures of known damage."""

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mdic_ros.evaluation.niqe import Niqe, _asymmetric_gaussian, _features, _halved, _local_mean, _normalised


@pytest.mark.parametrize("shape", [1.0, 2.0])  # Laplace, Gauss
def test_fit_finds_the_distribution(shape):
    rng = np.random.default_rng(0)
    samples = rng.laplace(0, 3, (400, 400)) if shape == 1 else rng.normal(0, 3 / math.sqrt(2), (400, 400))
    samples = np.where(samples > 0, 2 * samples, samples)
    _, mean, left, right = _asymmetric_gaussian(samples[samples != 0])
    # Twice the scale on the right, with as many samples there: not of the family, but the scales stand.
    assert right / left == pytest.approx(2, rel=0.02) and mean > 0
    symmetric = _asymmetric_gaussian(np.where(samples > 0, samples / 2, samples))
    assert symmetric[0] == pytest.approx(shape, rel=0.03)
    assert symmetric[2:] == pytest.approx((3, 3), rel=0.03)
    assert symmetric[1] == pytest.approx(0, abs=0.05)


def test_a_flat_block_fits_nothing():
    assert all(math.isnan(value) for value in _asymmetric_gaussian(np.zeros((8, 8))))


def test_local_mean_keeps_constants_and_sums_to_one():
    assert _local_mean(np.full((20, 30), 7.0)) == pytest.approx(7)
    point = np.zeros((21, 21))
    point[10, 10] = 1
    window = _local_mean(point)
    assert window.sum() == pytest.approx(1) and window[10, 10] == window.max()
    assert window[10, 11] / window[10, 10] == pytest.approx(math.exp(-1 / (2 * (7 / 6) ** 2)))
    assert np.count_nonzero(window) == 49


def test_halving_is_matlabs_imresize():
    """Against the definition: a cubic kernel stretched by two, over samples that are mirrored at the edges."""
    picture = np.random.default_rng(1).uniform(0, 255, (12, 16))

    def kernel(x):
        x = np.abs(x)
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return np.where(x <= 1, near, np.where(x <= 2, far, 0))

    def half(columns):  # along axis 0
        length = len(columns)
        centres = 2 * np.arange(length // 2) + 0.5
        taps = np.floor(centres - 4).astype(int)[:, None] + np.arange(10)
        weights = kernel((centres[:, None] - taps) / 2)
        mirrored = np.where(taps < 0, -1 - taps, np.where(taps >= length, 2 * length - 1 - taps, taps))
        return np.einsum("ij,ijk->ik", weights / weights.sum(1, keepdims=True), columns[mirrored])

    assert _halved(picture) == pytest.approx(half(half(picture).T).T, abs=1e-3)


@pytest.fixture(scope="module")
def niqe(photographs, tmp_path_factory):
    """NIQE with a model of these photographs."""
    features = []
    for picture in photographs[:4]:
        grey = np.round(picture @ np.array([0.299, 0.587, 0.114]))[:96, :192]
        fine, coarse = _normalised(grey), _normalised(_halved(grey))
        features += [
            _features(fine[:, n * 96 : n * 96 + 96]) + _features(coarse[:, n * 48 : n * 48 + 48]) for n in (0, 1)
        ]
    path = tmp_path_factory.mktemp("niqe") / "model.npz"
    covariance = np.cov(features, rowvar=False) + 1e-3 * np.eye(36)
    np.savez(path, mu_pris_param=np.mean(features, axis=0, keepdims=True), cov_pris_param=covariance)
    return Niqe(path)


def test_damage_is_less_natural(niqe, photographs):
    rng = np.random.default_rng(2)
    for picture in photographs[4:]:
        natural = niqe(picture)
        for sigma in (1, 2):
            assert niqe(np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(sigma)))) > natural
        assert niqe(np.clip(picture + rng.normal(0, 40, picture.shape), 0, 255).astype(np.uint8)) > natural


def test_only_whole_blocks_count(niqe, photographs):
    picture = photographs[5]
    other = picture.copy()
    other[96:] = 0
    other[:, 192:] = 255
    assert niqe(picture) == niqe(other) == niqe(picture[:96, :192])
    assert math.isfinite(niqe(picture[:100, :100]))  # one block


def test_what_has_no_textured_block_has_no_figure(niqe, photographs):
    assert math.isnan(niqe(photographs[0][:95]))
    assert math.isnan(niqe(np.full((128, 256, 3), 80, np.uint8)))
