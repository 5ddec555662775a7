"""Pictures for tests of the codec."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def scene() -> Callable[..., np.ndarray]:
    def _scene(height: int, width: int, seed: int = 0) -> np.ndarray:
        """A smooth coloured texture, H x W x 3 uint8 RGB."""
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), np.uint8)
        return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))

    return _scene
