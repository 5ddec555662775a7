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
    compose_caption,
    train,
)
from mdic_ros.training.data import Pair, load_pairs
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
    "folders": ["train"],
    "hold_out": ["drive_c"],
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
    pairs = load_pairs(data, ["train"], ["drive_b", "drive_c"])
    annotated = CaptionerConfig(**TINY, composed=0.0)
    first, again = (CaptionCrops(pairs, captioner, annotated, batch=16, seed=3).sample() for _ in range(2))
    assert first.pixel_values.shape == (16, 3, 32, 64) and first.pixel_values.dtype == torch.float32
    torch.testing.assert_close(first.pixel_values, again.pixel_values)
    said = set(captioner.tokenizer.batch_decode(first.token_ids, skip_special_tokens=True))
    assert said == {"a red car on the left , trees", "a red car on the right , trees"}


@pytest.mark.parametrize(
    ("caption", "tags", "expected"),
    [
        ("", ("street", "umbrella", "sky"), "a street with an umbrella"),
        ("", ("trees", "road", "trees"), "a road with trees and trees"),
        ("a black and white photo of a car", ("path", "shadow"), "a black and white photo of a path"),
        ("", ("path",), "a path"),
    ],
)
def test_composed_sentences(caption, tags, expected):
    pair = Pair("drive", "0", Image.new("RGB", (2, 1)), Image.new("RGB", (2, 1)), caption, tags)
    assert compose_caption(pair, np.random.default_rng(0)) == expected


def test_loss_and_figures(data, captioner):
    pairs = load_pairs(data, ["train"], [])
    stage = CaptionerStage(captioner, pairs, CaptionerConfig(**TINY))
    loss, figures = stage.loss(CaptionCrops(pairs, captioner, stage.config, batch=4, seed=0).sample(), 0.0)
    loss.backward()
    assert torch.isfinite(loss) and 0 <= figures["accuracy"] <= 1
    with torch.no_grad():
        figures = stage.caption_figures(pairs)
    assert set(figures) == {"token_accuracy", "blind_accuracy", "noun_f1"}
    assert all(0 <= value <= 1 for value in figures.values())


def test_trains_stops_and_goes_on(data, tmp_path):
    config, out = tmp_path / "captioner.yaml", tmp_path / "run"
    loop = {"minutes": 0.01, "batch": 4, "size": [32, 64], "log_every": 1, "mixed_precision": "no"}
    config.write_text(yaml.safe_dump({"loop": loop, "captioner": TINY}))
    train(config, data, out, out / "bundle")
    train(config, data, out, out / "bundle", minutes=0.03)
    with (out / "validation.csv").open() as file:
        steps = [int(float(row["step"])) for row in csv.DictReader(file)]
    assert len(steps) == 2 and 0 < steps[0] < steps[1]

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(out / "bundle" / "tokenizer", local_files_only=True)
    captioner = Captioner.from_pretrained(out / "bundle" / "captioner", tokenizer)
    assert isinstance(captioner.caption(np.zeros((64, 128, 3), np.uint8)), str)


def test_the_shipped_configuration_is_valid(pytestconfig):
    options = yaml.safe_load((pytestconfig.rootpath / "config" / "train" / "captioner.yaml").read_text())
    config = CaptionerConfig(**options["captioner"])
    height, width = options["loop"]["size"]
    assert height % config.patch_size == 0 and width % config.patch_size == 0
