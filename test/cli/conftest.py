"""The mdic command, as a user calls it: arguments in, exit code, text and files out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdic_ros import cli


@dataclass(frozen=True)
class Result:
    """Exit code and text of one call."""

    code: int
    out: str
    err: str


@pytest.fixture
def mdic(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Calls the command in this process. A traceback fails the test."""

    def call(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as exit_info:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        code = exit_info.value.code
        return Result(code if isinstance(code, int) else 0, out, err)

    return call


def picture(seed: int, height: int = 80, width: int = 160) -> np.ndarray:
    """A smooth picture of random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 9, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """left and right with two images each, 80x160."""
    for side, offset in (("left", 0), ("right", 10)):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        for index in range(2):
            Image.fromarray(picture(index + offset)).save(tmp_path / "pairs" / side / f"{index}.png")
    return tmp_path / "pairs"
