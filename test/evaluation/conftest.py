"""Pictures with the statistics of photographs, made on the spot, and a whole evaluation of some."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mdic_ros.evaluation import run
from mdic_ros.evaluation.anchors import ANCHORS
from mdic_ros.evaluation.run import Evaluation, Options


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


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory, photographs: list[np.ndarray]) -> Path:
    """A drive of two pairs and one of one, 128x256: the right image is the left one, 8 pixels further."""
    folder = tmp_path_factory.mktemp("street")
    for number, picture in enumerate(photographs[:3]):
        for side, image in (("left", picture), ("right", np.roll(picture, 8, axis=1))):
            path = folder / "ab"[number // 2] / side / f"{number % 2}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return folder


@contextmanager
def silent(_: str) -> Iterator[Callable[[int, int], None]]:
    """Shows no progress."""
    yield lambda done, total: None


@pytest.fixture(scope="session")
def evaluated(
    tmp_path_factory: pytest.TempPathFactory, street: Path, tiny_bundle: Path
) -> tuple[Evaluation, Path, Options]:
    """An evaluation with everything but the slow anchors, the folder that it filled, and its options."""
    folder, options = tmp_path_factory.mktemp("evaluated"), Options("native", (1, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "ANCHORS", [a for a in ANCHORS if a.name in ("side image copied", "JPEG", "x265 intra")])
        evaluation = run.run(street, tiny_bundle, options, folder, "mdic eval ...", silent)
    assert evaluation is not None
    return evaluation, folder, options
