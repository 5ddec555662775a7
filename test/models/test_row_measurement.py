"""Moving by rows, and measuring a row offset against an encoder that is known."""

import math

import pytest
import torch
import torch.nn.functional as F

from mdic_ros.models.row_measurement import REACH, measure_rows, shift_rows
from mdic_ros.models.row_offset import RowOffset


@pytest.mark.parametrize("rows", [2.0, -3.0, 0.0])
def test_whole_rows_move_as_they_are(rows):
    image = torch.rand(1, 3, 64, 128)
    moved = shift_rows(image, rows)
    down = int(rows)
    inside = slice(max(0, -down), 64 - max(0, down))
    expected = image[:, :, inside.start + down : inside.stop + down]
    torch.testing.assert_close(moved[:, :, inside], expected, atol=1e-4, rtol=0)


def smooth(seed: int) -> torch.Tensor:
    coarse = torch.rand(1, 3, 16, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, size=(128, 256), mode="bicubic")


def encode(image: torch.Tensor) -> torch.Tensor:
    """Stands for the encoder: 16x16 blocks at an eighth of their size."""
    return F.pixel_unshuffle(F.avg_pool2d(image, 2), 8)


@pytest.mark.parametrize("rows", [0.0, 0.5, -1.0, 2.0])
@pytest.mark.parametrize("disparity", [0, 16])
def test_the_offset_is_found_where_the_encoder_says_the_same(rows, disparity):
    coded = smooth(0)
    side = shift_rows(coded, -rows).roll(-disparity, dims=3)  # `rows` rows lower
    offset = torch.zeros(1, 2, 16, 32)
    offset[:, 0] = -disparity / 8
    found = measure_rows(encode(coded), side, offset, torch.ones(1, 1, 8, 16), encode)
    assert found.mean == pytest.approx(rows, abs=0.25) and found.precision > 10


def test_what_says_nothing_has_no_precision():
    coded, offset = smooth(0), torch.zeros(1, 2, 16, 32)
    shut = measure_rows(encode(coded), coded, offset, torch.zeros(1, 1, 8, 16), encode)
    assert shut == RowOffset()
    flat = measure_rows(encode(torch.zeros_like(coded)), coded, offset, torch.ones(1, 1, 8, 16), encode)
    assert flat.likely == 0 and math.isfinite(flat.precision)
    far = measure_rows(encode(coded), shift_rows(coded, -8.0), offset, torch.ones(1, 1, 8, 16), encode)
    assert abs(far.mean) <= REACH
