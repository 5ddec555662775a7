"""Two small drives on disk, in the layout of a training folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def training_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    rng, rows = np.random.default_rng(0), []
    for drive in ("drive_a", "drive_b"):
        for side in ("left", "right"):
            (root / "stereo" / "train" / drive / side).mkdir(parents=True)
            for n in range(5):
                pixels = rng.integers(0, 256, (6, 12, 3), dtype=np.uint8)
                image = Image.fromarray(pixels).resize((300, 150), Image.Resampling.BICUBIC)
                image.save(root / "stereo" / "train" / drive / side / f"{n}.png")
        rows += [
            {"source": drive, "name": str(n), "caption": "a car on the left of a street", "tags": ["car", "street"]}
            for n in range(5)
        ]
    (root / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root
