"""The captioner's stage on a few made-up pictures: batches, mirroring, training, going on after a stop."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from mdic_ros.models.captioner import Captioner
from mdic_ros.training.captioner import (
    CaptionCrops,
    CaptionerConfig,
    CaptionerStage,
    build_captioner,
)
from mdic_ros.training.sources import TrainingData
from mdic_ros.training.stages import StageConfig, train
from mdic_ros.training.tokenizer import build_tokenizer

CAPTIONS = {
    "drive_a": "a red car on the left, trees",
    "drive_b": "a white van",
    "drive_c": "a red car and a van",
}
TINY = {
    "hidden_size": 16,
    "heads": 2,
    "vision_layers": 1,
    "text_layers": 1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three drives of two pairs each, in the layout of the training data."""
    root = tmp_path_factory.mktemp("data")
    rng, rows = np.random.default_rng(0), []
    for drive, caption in CAPTIONS.items():
        for name in ("000000", "000001"):
            for view in ("left", "right"):
                path = root / "stereo" / "train" / drive / view / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 255, (64, 200, 3), dtype=np.uint8)).save(path)
            rows.append({"source": drive, "name": name, "caption": caption, "tags": ["car"]})
    (root / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def captioner():
    torch.manual_seed(0)
    return build_captioner(build_tokenizer(CAPTIONS.values()), CaptionerConfig(**TINY), (32, 64))


def test_batches_are_seeded_and_mirror_their_words(data, captioner):
    pairs = [pair for pair in TrainingData(data).pairs(["train"], 256) if pair.drive == "drive_a"]
    crops = CaptionCrops(pairs, captioner, CaptionerConfig(**TINY), batch=16)
    first, again = (crops.sample(np.random.default_rng(3)) for _ in range(2))
    assert first.pixel_values.shape == (16, 3, 32, 64) and first.pixel_values.dtype == torch.float32
    torch.testing.assert_close(first.pixel_values, again.pixel_values)
    torch.testing.assert_close(first.words.sum(1), torch.ones(16))
    assert (first.words[:, captioner.tokenizer("van", add_special_tokens=False)["input_ids"]] == 0).all()
    said = set(captioner.tokenizer.batch_decode(first.token_ids, skip_special_tokens=True))
    assert said == {"a red car on the left , trees", "a red car on the right , trees"}


def test_loss_and_figures(data, captioner):
    pairs = TrainingData(data).pairs(["train"], 256)
    stage = CaptionerStage(captioner, pairs, CaptionerConfig(**TINY))
    loss, figures = stage.loss(
        CaptionCrops(pairs, captioner, stage.config, batch=4).sample(np.random.default_rng(0)), 0.0
    )
    loss.backward()
    assert torch.isfinite(loss) and 0 <= figures["accuracy"] <= 1
    with torch.no_grad():
        figures = stage.caption_figures(pairs)
    assert set(figures) == {"token_accuracy", "blind_accuracy", "noun_f1"}
    assert all(0 <= value <= 1 for value in figures.values())


def test_trains_stops_and_goes_on(data, tmp_path):
    config, out = tmp_path / "captioner.yaml", tmp_path / "run"

    def budget(steps):
        loop = {"steps": steps, "batch": 4, "size": [32, 64], "log_every": 1, "mixed_precision": "fp32"}
        config.write_text(yaml.safe_dump({"loop": loop, "data": {"hold_out": ["drive_c"]}, "captioner": TINY}))

    budget(3)
    # A captioner alone is no whole bundle.
    assert train("captioner", config, TrainingData(data), out, out / "bundle") == (None, True)
    budget(6)
    assert train("captioner", config, TrainingData(data), out, out / "bundle") == (None, True)
    with (out / "validation.csv").open() as file:
        steps = [int(float(row["step"])) for row in csv.DictReader(file)]
    assert steps == [3, 6]

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(out / "bundle" / "tokenizer", local_files_only=True)
    captioner = Captioner.from_pretrained(out / "bundle" / "captioner", tokenizer)
    assert isinstance(captioner.caption(np.zeros((64, 128, 3), np.uint8)), str)


def test_the_shipped_configuration_is_valid(pytestconfig):
    path = pytestconfig.rootpath / "config" / "train" / "captioner.yaml"
    config = StageConfig("captioner", path)
    assert all(side % config.options.patch_size == 0 for side in config.loop.size)
