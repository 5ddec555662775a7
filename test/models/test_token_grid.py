"""Sizes of token grids: one rule for the quantizer and the prior."""

from fractions import Fraction

import pytest

from mdic_ros.codec.bitstream import MAX_SIDE, MIN_HEIGHT, MIN_WIDTH, MULTIPLE, feature_grid
from mdic_ros.models.entropy.schedule import PriorSizes
from mdic_ros.models.quantizer import MultiScaleQuantizer
from mdic_ros.models.token_grid import token_grid

QUARTERS = ("1/4", "1/2", "3/4", "1")


def test_quantizer_and_prior_agree_at_every_size_of_the_container() -> None:
    """In each a grid of quarters is whole, as version 0.1.0 had it: nothing is rounded."""
    quantizer = MultiScaleQuantizer(features=8, codebook_size=4, codebook_dim=4, grids=QUARTERS)
    prior = PriorSizes(4, [float(Fraction(f)) for f in QUARTERS], (1, 2, 2, 4), 8, 1, 1, (4, 6), 4)
    for height in range(MIN_HEIGHT, MAX_SIDE + 1, MULTIPLE):
        for width in range(MIN_WIDTH, MAX_SIDE + 1, MULTIPLE):
            h, w = feature_grid(height, width)
            shapes = [(h * n // 4, w * n // 4) for n in range(1, 5)]
            assert prior.grid_shapes(h, w) == shapes
            assert [quantizer.grid(scale, h, w) for scale in range(4)] == shapes
            assert (4 * shapes[0][0], 4 * shapes[0][1]) == (h, w)


@pytest.mark.parametrize(
    ("fraction", "size", "grid"),
    [
        (0.1, (4, 9), (1, 1)),
        (1 / 3, (4, 9), (2, 3)),
        (Fraction(1, 3), (4, 9), (2, 3)),
        (0.28, (25, 1), (7, 1)),
    ],
)
def test_other_fractions_are_rounded_up(fraction: float, size: tuple[int, int], grid: tuple[int, int]) -> None:
    assert token_grid(fraction, *size) == grid
