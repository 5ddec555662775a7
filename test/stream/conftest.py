"""Views of a moving scene."""

import numpy as np
import pytest

SIZE = (64, 128)


@pytest.fixture(scope="session")
def views() -> list[tuple[np.ndarray, np.ndarray]]:
    """Twelve left and right images, 64 x 128 x 3 uint8."""
    rng = np.random.default_rng(0)
    scene = np.repeat(np.repeat(rng.integers(0, 256, (8, 40, 3), np.uint8), 8, 0), 8, 1)
    return [(scene[:, 4 * i : 4 * i + 128].copy(), scene[:, 4 * i + 8 : 4 * i + 136].copy()) for i in range(12)]
