"""Training: a few real steps of every stage make a bundle that codes; a stopped run goes on exactly."""

import csv
import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from mdic_ros.codec import Decoder, Encoder
from mdic_ros.training.data import StereoCrops, load_pairs, mirrored_caption
from mdic_ros.training.stages import ConfigError, train

SMALL_LOOP = {"batch": 2, "size": [64, 128], "log_every": 1, "warmup_steps": 1, "mixed_precision": "no"}
SECTIONS = {
    "autoencoder": {
        "vae": {
            "in_channels": 48,
            "out_channels": 48,
            "latent_channels": 8,
            "block_out_channels": [16, 16],
            "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "mid_block_add_attention": False,
            "scaling_factor": 1.0,
            "shift_factor": 0.0,
        }
    },
    "codec": {
        "features": 32,
        "channels": 16,
        "codebook_size": 64,
        "condition": 8,
        "refiner_channels": 16,
        "prior": {"dim": 32, "num_layers": 1, "token_dim": 16},
        "unet": {
            "out_channels": 8,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
            "block_out_channels": [16, 16],
            "layers_per_block": 1,
            "cross_attention_dim": 32,
            "attention_head_dim": 4,
            "norm_num_groups": 8,
        },
    },
    "prior": {},
    "captioner": {
        "hidden_size": 32,
        "heads": 2,
        "vision_layers": 1,
        "text_layers": 1,
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
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


def config(path, stage, **loop):
    content = {
        "loop": {**SMALL_LOOP, **loop},
        "data": {"folders": ["train"], "hold_out": ["drive_b"]},
        stage: SECTIONS[stage],
    }
    file = path / f"{stage}.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_the_stages_make_a_bundle_that_codes(data, tmp_path):
    bundle = tmp_path / "my_model"
    for stage in ("autoencoder", "codec", "captioner", "prior"):
        fingerprint = train(stage, config(tmp_path, stage, minutes=0.03), data, tmp_path / stage, bundle)
        with (tmp_path / stage / "train.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert rows and all(np.isfinite(float(v)) for row in rows for v in row.values())
    assert fingerprint is not None
    image = np.random.default_rng(1).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    encoder, decoder = Encoder.from_pretrained(bundle), Decoder.from_pretrained(bundle)
    assert encoder.model_id == "my_model" and encoder.fingerprint == fingerprint
    assert decoder.decode(encoder.encode(image), image).image.shape == image.shape


def test_a_stopped_run_goes_on_from_its_checkpoint(data, tmp_path, capsys):
    out, bundle = tmp_path / "out", tmp_path / "bundle"
    train("autoencoder", config(tmp_path, "autoencoder", minutes=0.01), data, out, bundle)
    first = torch.load(out / "checkpoint.pt", weights_only=True)
    train("autoencoder", config(tmp_path, "autoencoder", minutes=0.03), data, out, bundle)
    second = torch.load(out / "checkpoint.pt", weights_only=True)
    assert f"resumed at step {first['step']}" in capsys.readouterr().out
    assert second["step"] > first["step"] and second["elapsed"] > first["elapsed"]


def test_crops_are_seeded_matched_and_in_range(data):
    pairs = load_pairs(data, ["train"], ["drive_b"])
    assert {p.drive for p in pairs} == {"drive_a"}
    crops = StereoCrops(pairs, (64, 128), 4, seed=5)
    one = crops.sample(np.random.default_rng(7))
    two = crops.sample(np.random.default_rng(7))
    assert torch.equal(one.x, two.x) and torch.equal(one.y, two.y)
    assert one.x.shape == one.y.shape == (4, 3, 64, 128)
    assert one.x.min() >= -1 and one.x.max() <= 1 and len(one.captions) == 4


def test_mirroring_swaps_the_words_too():
    assert mirrored_caption("a car on the left of a tree") == "a car on the right of a tree"


def test_a_wrong_option_is_named(data, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("loop: {minuets: 3}\n")
    with pytest.raises(ConfigError, match="minuets"):
        train("autoencoder", file, data, tmp_path / "out", tmp_path / "bundle")
    with pytest.raises(ConfigError, match="mdic train autoencoder"):
        train("codec", config(tmp_path, "codec"), data, tmp_path / "out", tmp_path / "bundle")
    with pytest.raises(FileNotFoundError, match="no stereo pairs"):
        train("autoencoder", config(tmp_path, "autoencoder"), tmp_path, tmp_path / "out", tmp_path / "bundle")
