"""Pictures with the statistics of photographs, made on the spot."""

import numpy as np
import pytest
from PIL import Image, ImageFilter


def dead_leaves(seed: int, height: int = 128, width: int = 256) -> np.ndarray:
    """Opaque textured discs of all sizes on top of each other: edges, flat parts and detail at every scale."""
    rng = np.random.default_rng(seed)
    height, width = 2 * height, 2 * width  # drawn at twice the size, so that edges come out smooth
    rows, columns = np.mgrid[:height, :width]
    picture = np.zeros((height, width, 3))
    for _ in range(160):
        radius = 6 / rng.uniform(0.03, 1)
        disc = np.hypot(rows - rng.uniform(0, height), columns - rng.uniform(0, width)) < radius
        grain = rng.normal(0, rng.uniform(0, 25), disc.sum())
        picture[disc] = rng.uniform(30, 225, 3) + grain[:, None]
    pixels = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    return np.asarray(
        pixels.filter(ImageFilter.GaussianBlur(0.7)).resize((width // 2, height // 2), Image.Resampling.BOX)
    )


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray]:
    """Six pictures, 128 x 256 x 3 uint8."""
    return [dead_leaves(seed) for seed in range(6)]
