from __future__ import annotations

from pathlib import Path

import pytest

from mdic_ros.datasets import open_stereo


def test_slices_and_bounds(folder: Path) -> None:
    source = open_stereo(folder)
    assert [f.name for f in source[1:]] == ["001", "002"]
    with pytest.raises(IndexError):
        source[3]
