"""How large token grids are. The quantizer and the prior must agree on it; specified in docs/bitstream.md."""

from __future__ import annotations

import math
from fractions import Fraction


def token_grid(fraction: Fraction | float, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the token grid that is this fraction, above 0 and at most 1, of a feature grid.

    Feature grids have multiples of four rows and columns, so that grids of quarters are whole; others are rounded up.
    """
    # Fractions such as 0.28 have no exact float: without the small term 0.28 of 25 would be 8, not 7.
    rows, columns = (max(1, math.ceil(side * fraction - 1e-6)) for side in (height, width))
    return rows, columns
