"""Row offsets: what several measurements say together."""

import pytest

from mdic_ros.models.row_offset import PRIOR, RowOffset


def test_measurements_are_weighted_by_their_precision():
    both = RowOffset(1.0, 30.0).fuse(RowOffset(2.0, 10.0), keep=1.0)
    assert both == RowOffset(1.25, 40.0)
    assert RowOffset().fuse(RowOffset(2.0, 10.0)) == RowOffset(2.0, 10.0)
    assert RowOffset().fuse(RowOffset()) == RowOffset()
    faded = RowOffset(1.0, 100.0).fuse(RowOffset(1.0, 1.0), keep=0.5)
    assert faded == RowOffset(1.0, 51.0)


def test_a_pair_is_rectified_until_there_is_evidence():
    assert RowOffset().likely == 0
    assert RowOffset(1.5, PRIOR / 2).likely == 0  # one frame of 14 bytes
    assert RowOffset(-1.5, 100 * PRIOR).likely == pytest.approx(-1.49)
