"""What the tests of the base install share."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mdic_ros.datasets import open_stereo
from mdic_ros.resources import resource

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def views() -> tuple[np.ndarray, np.ndarray]:
    """A stereo pair of the sample drive."""
    with open_stereo(resource("sample/street")) as source:
        frame = source[33]
        return frame.left, frame.right


@pytest.fixture(scope="session")
def mdic() -> Run:
    def _mdic(*arguments: object) -> subprocess.CompletedProcess[str]:
        """Runs the command in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "mdic_ros.cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "200"},
        )

    return _mdic


@pytest.fixture
def picture(tmp_path: Path, views: tuple[np.ndarray, np.ndarray]) -> Path:
    from PIL import Image

    Image.fromarray(views[0]).save(tmp_path / "left.png")
    return tmp_path / "left.png"
