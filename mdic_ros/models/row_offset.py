"""What is known of a rig whose side image is some rows too low or too high. Measured in `row_measurement`."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_ROWS = 64  #: a rig with a larger offset needs rectification, not a correction
#: Most rigs are rectified: the prior probability of an offset is proportional to exp(-PRIOR * |rows|).
PRIOR = 2.0


@dataclass(frozen=True)
class RowOffset:
    """Vertical disparity of a rig: how many rows lower the side image shows a point than the coded view does.

    In rows of the coded size. 0 for a rectified pair; negative where the side image shows it higher.
    """

    mean: float = 0.0  #: precision-weighted mean of the measurements
    precision: float = 0.0  #: one over its variance, 1 / rows^2; 0 = nothing was measured

    def fuse(self, later: RowOffset, keep: float = 0.99) -> RowOffset:
        """Combines this with a later measurement of the same rig, weighted by precision.

        Args:
            later: the later measurement.
            keep: factor on the precision of what was known before, 0 to 1, so that old measurements fade.
        """
        old = keep * self.precision
        precision = old + later.precision
        mean = (old * self.mean + later.precision * later.mean) / precision if precision else 0.0
        return RowOffset(mean, precision)

    @property
    def likely(self) -> float:
        """The most likely offset in rows (maximum a posteriori): 0 until the measurements outweigh the prior."""
        shrunk = abs(self.mean) - PRIOR / self.precision if self.precision else 0.0
        return math.copysign(max(0.0, shrunk), self.mean)
