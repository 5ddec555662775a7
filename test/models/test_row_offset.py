"""Row offsets: what measurements say together, moving by rows, and measuring against an encoder that is known."""

import math

import pytest
import torch
import torch.nn.functional as F

from mdic_ros.models.row_offset import PRIOR, REACH, RowOffset, measure, shifted


def test_measurements_are_weighted_by_their_precision():
    both = RowOffset(1.0, 30.0).and_then(RowOffset(2.0, 10.0), keep=1.0)
    assert both == RowOffset(1.25, 40.0)
    assert RowOffset().and_then(RowOffset(2.0, 10.0)) == RowOffset(2.0, 10.0)
    assert RowOffset().and_then(RowOffset()) == RowOffset()
    faded = RowOffset(1.0, 100.0).and_then(RowOffset(1.0, 1.0), keep=0.5)
    assert faded == RowOffset(1.0, 51.0)


def test_a_pair_is_rectified_until_there_is_evidence():
    assert RowOffset().likely == 0
    assert RowOffset(1.5, PRIOR / 2).likely == 0  # one frame of 14 bytes
    assert RowOffset(-1.5, 100 * PRIOR).likely == pytest.approx(-1.49)


@pytest.mark.parametrize("rows", [2.0, -3.0, 0.0])
def test_whole_rows_move_as_they_are(rows):
    image = torch.rand(1, 3, 64, 128)
    moved = shifted(image, rows)
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
    side = shifted(coded, -rows).roll(-disparity, dims=3)  # lower by so many rows
    offset = torch.zeros(1, 2, 16, 32)
    offset[:, 0] = -disparity / 8
    found = measure(encode(coded), side, offset, torch.ones(1, 1, 8, 16), encode)
    assert found.mean == pytest.approx(rows, abs=0.25) and found.precision > 10


def test_what_says_nothing_has_no_precision():
    coded, offset = smooth(0), torch.zeros(1, 2, 16, 32)
    shut = measure(encode(coded), coded, offset, torch.zeros(1, 1, 8, 16), encode)
    assert shut == RowOffset()
    flat = measure(encode(torch.zeros_like(coded)), coded, offset, torch.ones(1, 1, 8, 16), encode)
    assert flat.likely == 0 and math.isfinite(flat.precision)
    far = measure(encode(coded), shifted(coded, -8.0), offset, torch.ones(1, 1, 8, 16), encode)
    assert abs(far.mean) <= REACH
