"""Training: a few real steps of every stage make a bundle that codes; a stopped run goes on exactly."""

import csv
import dataclasses
import hashlib
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from mdic_ros.backbones import FILES, Lpips, vgg16
from mdic_ros.codec import Decoder, Encoder, ParsedPacket, SideView, inspect
from mdic_ros.codec.bitstream import pack_header
from mdic_ros.models.autoencoder import encode_latent
from mdic_ros.training.autoencoder import AutoencoderStage
from mdic_ros.training.budget import AllConfig, train_all
from mdic_ros.training.codec import PARTS, CodecStage
from mdic_ros.training.config import ConfigError, read_options
from mdic_ros.training.data import StereoCrops, disparities
from mdic_ros.training.pack import pack
from mdic_ros.training.sources import TrainingData
from mdic_ros.training.stages import STAGES, StageConfig, held_out_drives, train
from mdic_ros.training.tiny import make_bundle

SMALL_LOOP = {"batch": 2, "size": [64, 128], "log_every": 1, "warmup_steps": 1, "mixed_precision": "fp32"}
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
        "refiner": {"channels": 16, "detail": 16},
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
    "realism": {},
    "prior": {},
    "captioner": {
        "hidden_size": 32,
        "heads": 2,
        "vision_layers": 1,
        "text_layers": 1,
    },
}


def config(path, stage, **loop):
    content = {
        "loop": {**SMALL_LOOP, **loop},
        "data": {"folders": ["train"], "hold_out": ["drive_b"]},
        stage: SECTIONS[stage],
    }
    file = path / f"{stage}.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def yamls(path, **loop):
    """A folder with the YAMLs of all stages."""
    for stage in SECTIONS:
        config(path, stage, **loop)
    shares = {"autoencoder": 1, "codec": 3, "realism": 1, "captioner": 1, "prior": 1}
    (path / "all.yaml").write_text(yaml.safe_dump({"minutes": 0.2, "shares": shares}))
    return path / "all.yaml"


def test_all_stages_make_a_bundle_that_codes_from_a_pack(training_folder, tmp_path):
    pack([training_folder], tmp_path / "pairs.zip", max_bytes=1_000_000)
    bundle, out = tmp_path / "my_model", tmp_path / "out"
    with TrainingData(tmp_path / "pairs.zip") as data:
        fingerprint, done = train_all(yamls(tmp_path), data, out, bundle)
        assert done and fingerprint
        plan = json.loads((out / "all.json").read_text())
        assert plan["done"] == list(STAGES) and 0 < plan["granted"]["autoencoder"] < 0.2
        # Done is done: nothing is trained again.
        before = (out / "prior" / "train.csv").read_text()
        assert train_all(yamls(tmp_path), data, out, bundle) == (fingerprint, True)
        assert (out / "prior" / "train.csv").read_text() == before
    for stage in SECTIONS:
        with (out / stage / "train.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert rows and all(np.isfinite(float(v)) for row in rows for v in row.values())
    assert (out / "autoencoder" / "pictures").is_dir()
    image = np.random.default_rng(1).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    encoder, decoder = Encoder.from_pretrained(bundle), Decoder.from_pretrained(bundle)
    assert encoder.model_id == "my_model" and encoder.fingerprint == fingerprint
    assert decoder.decode(encoder.encode(image), [SideView(image)]).image.shape == image.shape


def test_a_real_stage_goes_on_exactly(training_folder, tmp_path, monkeypatch):
    """The autoencoder draws noise, and its batches come from the data."""
    file, data = config(tmp_path, "autoencoder", steps=4), TrainingData(training_folder)
    assert train("autoencoder", file, data, tmp_path / "whole", tmp_path / "one") == (None, True)
    losses, loss = 0, AutoencoderStage.loss

    def stopping(stage, batch, progress):
        nonlocal losses
        losses += 1
        if losses == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(stage, batch, progress)

    monkeypatch.setattr(AutoencoderStage, "loss", stopping)
    assert train("autoencoder", file, data, tmp_path / "halves", tmp_path / "two") == (None, False)
    assert losses == 2
    assert train("autoencoder", file, data, tmp_path / "halves", tmp_path / "two") == (None, True)
    assert losses == 4
    name = Path("vae") / "diffusion_pytorch_model.safetensors"
    one, two = (load_file(tmp_path / bundle / name) for bundle in ("one", "two"))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    # Halved, as it will be used, so that the next stage sees the same however often it is resumed.
    assert {tensor.dtype for tensor in one.values()} == {torch.float16}


@pytest.mark.slow
def test_the_codec_stage_goes_on_exactly(training_folder, tmp_path, monkeypatch):
    """It draws from a generator of its own, its codebooks learn outside the optimiser, and the vae is in its bundle."""
    data, losses, loss = TrainingData(training_folder), 0, CodecStage.loss
    for bundle in ("one", "two"):
        train(
            "autoencoder", config(tmp_path, "autoencoder", steps=1), data, tmp_path / bundle / "out", tmp_path / bundle
        )
    file = config(tmp_path, "codec", steps=3)
    assert train("codec", file, data, tmp_path / "whole", tmp_path / "one") == (None, True)

    def stopping(stage, batch, progress):
        nonlocal losses
        losses += 1
        if losses == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(stage, batch, progress)

    monkeypatch.setattr(CodecStage, "loss", stopping)
    assert train("codec", file, data, tmp_path / "halves", tmp_path / "two") == (None, False)
    assert train("codec", file, data, tmp_path / "halves", tmp_path / "two") == (None, True)
    assert losses == 3
    for part in ("vae", *PARTS):
        (one,), (two,) = (list((tmp_path / bundle / part).glob("*.safetensors")) for bundle in ("one", "two"))
        before, after = load_file(one), load_file(two)
        assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before), part
    assert not list(tmp_path.glob("*/*.partial"))


def test_captions_that_are_nobodys_are_noticed_at_once(training_folder, tmp_path):
    for drives, missing in ((("drive_a",), "to validate on"), (("drive_b",), "to train on"), ((), "to train on")):
        with TrainingData(training_folder) as data:
            data.captions = [row for row in data.captions if row["source"] in drives]
            data.captions.append({"source": "drive_c", "name": "0", "caption": "a car", "tags": []})
            with pytest.raises(ConfigError, match=f"no pair {missing} has a caption.*captions.jsonl"):
                train_all(yamls(tmp_path), data, tmp_path / "out", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_sizes_and_batches_that_a_stage_cannot_use_are_refused(tmp_path):
    for stage, options, message in (
        ("codec", {"size": [96, 128]}, r"size is \[96, 128\].*multiples of 64"),
        ("prior", {"size": [64, 100]}, "multiples of 64"),
        ("realism", {"batch": 1}, "batch is 1, this stage needs at least 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            StageConfig(stage, config(tmp_path, stage, **options))


def test_a_plan_is_kept_over_a_stop(training_folder, tmp_path, monkeypatch):
    """What a stage was granted holds when it goes on, and the stages that follow share what is left."""
    runs = []

    def fake_stage(stage, config, data, out, bundle, minutes):
        runs.append((stage, minutes()))
        return len(runs) != 2

    monkeypatch.setattr("mdic_ros.training.budget.train_stage", fake_stage)
    (tmp_path / "bundle").mkdir()
    with TrainingData(training_folder) as data:
        for done in (False, True):
            assert train_all(yamls(tmp_path), data, tmp_path / "out", tmp_path / "bundle", 60.0) == (None, done)
    assert [stage for stage, _ in runs] == ["autoencoder", "codec", "codec", "realism", "captioner", "prior"]
    minutes = [granted for _, granted in runs]
    usable = 60 * 0.98
    assert minutes[0] == pytest.approx(usable / 7, rel=0.01)
    # The stages took next to no time here, so that each leaves its own to the later ones.
    assert minutes[1] == minutes[2] == pytest.approx(usable * 3 / 6, rel=0.02)
    assert minutes[3:] == pytest.approx([usable / 3, usable / 2, usable], rel=0.03)


def test_crops_are_seeded_matched_and_in_range(training_folder):
    pairs = TrainingData(training_folder).pairs(["train"], 256, match=True)
    assert {p.drive for p in pairs} == {"drive_a", "drive_b"} and pairs[0].disparity is not None
    crops = StereoCrops(pairs, (64, 128), 4)
    one = crops.sample(np.random.default_rng(7))
    two = crops.sample(np.random.default_rng(7))
    assert torch.equal(one.x, two.x) and torch.equal(one.y, two.y)
    assert one.x.shape == one.y.shape == (4, 3, 64, 128)
    assert one.x.min() >= -1 and one.x.max() <= 1 and len(one.captions) == 4


def test_disparities_are_found_once(training_folder, tmp_path, monkeypatch):
    cache, found = tmp_path / "out" / "disparities.npz", []

    def counted(left, right):
        found.append(left.size)
        return disparities(left, right)

    monkeypatch.setattr("mdic_ros.training.sources.disparities", counted)

    def pairs(height):
        return TrainingData(training_folder, cache=cache).pairs(["train"], height, match=True)

    before, after = pairs(100), pairs(100)
    assert len(found) == len(before) == 10 and [path.name for path in cache.parent.iterdir()] == [cache.name]
    for one, two in zip(before, after, strict=True):
        for a, b in zip(one.disparity, two.disparity, strict=True):
            np.testing.assert_array_equal(a, b)
    assert pairs(60)[0].disparity[0].shape == (60, 120) and len(found) == 20, "another size, so others"
    cache.write_bytes(cache.read_bytes()[:-100])
    pairs(60)
    assert len(found) == 30, "damaged, so found again"


def test_what_is_missing_is_named(training_folder, tmp_path):
    data = TrainingData(training_folder)
    with pytest.raises(ConfigError, match="mdic train autoencoder"):
        train("codec", config(tmp_path, "codec"), data, tmp_path / "out", tmp_path / "bundle")
    with pytest.raises(ConfigError, match="mdic train codec"):
        train("prior", config(tmp_path, "prior"), data, tmp_path / "out", tmp_path / "bundle")
    elsewhere = TrainingData(training_folder, ["drive_z"])
    with pytest.raises(ConfigError, match=r"--hold-out drive_z.*no such drive; it has drive_a, drive_b"):
        train("autoencoder", config(tmp_path, "autoencoder"), elsewhere, tmp_path / "out", tmp_path / "bundle")


def test_held_out_drives(training_folder, tmp_path):
    def held_out(named, in_yaml):
        content = {"data": {"folders": ["train"], "hold_out": in_yaml}}
        (tmp_path / "prior.yaml").write_text(yaml.safe_dump(content))
        stage = StageConfig("prior", tmp_path / "prior.yaml")
        return held_out_drives(stage, TrainingData(training_folder, named))

    assert held_out([], ["drive_b", "somebody_elses"]) == ["drive_b"]
    assert held_out(["drive_a"], ["drive_b"]) == ["drive_a"]
    with pytest.raises(ConfigError, match=r"names somebody_elses\): name one of drive_a, drive_b with --hold-out"):
        held_out([], ["somebody_elses"])
    with pytest.raises(ConfigError, match=r"every drive .* is held out"):
        held_out(["drive_a", "drive_b"], [])


def test_a_run_goes_on_with_the_drives_that_it_held_out(training_folder, tmp_path):
    out, bundle = tmp_path / "out", tmp_path / "bundle"
    yaml_file = config(tmp_path, "autoencoder", steps=2)
    train("autoencoder", yaml_file, TrainingData(training_folder), out, bundle)
    with pytest.raises(ConfigError, match="holds out drive_b, this call drive_a"):
        train("autoencoder", yaml_file, TrainingData(training_folder, ["drive_a"]), out, bundle)
    train("autoencoder", yaml_file, TrainingData(training_folder, ["drive_b"]), out, bundle)


def test_the_shipped_configurations_are_valid(pytestconfig):
    folder = pytestconfig.rootpath / "config" / "train"
    for stage in STAGES:
        assert StageConfig(stage, folder / f"{stage}.yaml").data.hold_out
    options = read_options(folder / "all.yaml", AllConfig)
    assert list(options.shares) == list(STAGES)


def stand_in_vgg16(folder: Path) -> str:
    """Random convolutions under the published names; the file's digest."""
    torch.manual_seed(0)
    numbers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    widths = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    state = {}
    for number, inputs, outputs in zip(numbers, widths[:-1], widths[1:], strict=True):
        state[f"features.{number}.weight"] = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
        state[f"features.{number}.bias"] = torch.zeros(outputs)
    torch.save(state, folder / FILES["vgg16"].name)
    return hashlib.sha256((folder / FILES["vgg16"].name).read_bytes()).hexdigest()


def weights(bundle: Path) -> dict[str, torch.Tensor]:
    """All tensors of a bundle by part and name, in the precision of bundles."""
    return {
        f"{file.parent.name}/{name}": tensor.half()
        for file in bundle.glob("*/*.safetensors")
        for name, tensor in load_file(file).items()
    }


def test_half_of_the_foreign_side_images_are_at_the_coarsest_rate_point(training_folder, tmp_path):
    bundle = make_bundle(tmp_path / "model")
    built = STAGES["realism"].build(
        StageConfig("realism", config(tmp_path, "realism")), TrainingData(training_folder), bundle, torch.device("cpu")
    )
    stage, batch = built[0], built[1].sample(np.random.default_rng(0))
    points, count = len(stage.parts["quantizer"].quantizers), len(batch.captions)
    changed = {"foreign_side": 1.0, "no_side": 0.0, "rate_share": (*(points - 1) * (0.0,), 1.0)}
    stage.config = stage.config.model_copy(update=changed)
    batch = dataclasses.replace(batch, drives=[frozenset(str(n % 2)) for n in range(count)])
    seen = []
    stage.mdic.condition = lambda x_hat, side: seen.extend(x_hat.flatten().tolist())
    for _ in range(50):
        stage.workstation(batch, [torch.full((count, 1), float(point)) for point in range(points)])
    assert set(seen) == {0.0, points - 1.0} and 0.3 < seen.count(0.0) / len(seen) < 0.7


def test_training_validates_the_very_pictures_that_the_decoder_shows(training_folder, tmp_path):
    bundle = make_bundle(tmp_path / "model")
    stage, _ = STAGES["realism"].build(
        StageConfig("realism", config(tmp_path, "realism")), TrainingData(training_folder), bundle, torch.device("cpu")
    )
    stage.network.eval()
    decoder = Decoder.from_pretrained(bundle, dtype="float32")
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    x = torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        tokens = stage.parts["quantizer"](stage.parts["hyper_align"](encode_latent(stage.vae, x)))[1][:3]
        mine = stage.reconstruct(x, stage.mdic.side(x.flip(1)), ["a red car"], 2, steps=2)
    info = inspect(pack_header(2, bytes.fromhex(decoder.fingerprint), 64, 128))
    packet = ParsedPacket(info, [grid[0].numpy() for grid in tokens], 0, 0.0)
    shown = decoder.decode(packet, [SideView(image[..., ::-1])], caption="a red car", steps=2).image
    expected = ((mine[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
    np.testing.assert_allclose(shown.astype(int), expected, atol=1)


def test_realism_looks_through_vgg16_where_there_is_one(training_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(SECTIONS, "realism", {"weights": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"weights is .*needs vgg16-397923af\.pth.*curl -LO https"):
        StageConfig("realism", config(tmp_path, "realism"))
    digest = stand_in_vgg16(tmp_path)
    with pytest.raises(ConfigError, match="damaged or another file"):
        StageConfig("realism", config(tmp_path, "realism"))
    monkeypatch.setitem(FILES, "vgg16", dataclasses.replace(FILES["vgg16"], sha256=digest))
    bundle = make_bundle(tmp_path / "model")
    file = config(tmp_path, "realism", steps=2)
    before = weights(bundle)
    assert train("realism", file, TrainingData(training_folder), tmp_path / "out", bundle)[1]
    changed = {name for name, tensor in weights(bundle).items() if not torch.equal(tensor, before[name])}
    assert {name.split("/")[0] for name in changed} == {"unet", "detail_refiner", "vae"}, "only what draws is trained"
    assert all("/decoder." in name or "/post_quant" in name for name in changed if name.startswith("vae/"))
    with (tmp_path / "out" / "train.csv").open() as csv_file:
        rows = list(csv.DictReader(csv_file))
    assert len(rows) == 2 and all(float(row["lpips"]) > 0 for row in rows)


def test_lpips_has_a_gradient_and_is_zero_for_the_same(tmp_path):
    stand_in_vgg16(tmp_path)
    lpips = Lpips(vgg16(tmp_path / FILES["vgg16"].name), "vgg")
    picture = torch.rand(2, 3, 64, 64) * 2 - 1
    assert (lpips(picture, picture) == 0).all()
    other = (picture + 0.1 * torch.randn_like(picture)).requires_grad_()
    distance = lpips(other, picture)
    distance.sum().backward()
    assert (distance > 0).all() and other.grad is not None and other.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in lpips.parameters())


def test_a_bundle_of_an_older_version_is_not_fine_tuned(training_folder, tmp_path):
    bundle = make_bundle(tmp_path / "model")
    file = bundle / "detail_refiner" / "diffusion_pytorch_model.safetensors"
    save_file({key: value for key, value in load_file(file).items() if key != "upsample.weights.bias"}, file)
    with pytest.raises(ConfigError, match=r"detail_refiner is of another version.*upsample\.weights\.bias"):
        train("codec", config(tmp_path, "codec"), TrainingData(training_folder), tmp_path / "out", bundle)


def test_a_new_autoencoder_is_not_put_below_what_fits_another(training_folder, tmp_path):
    bundle = make_bundle(tmp_path / "model")
    with pytest.raises(ConfigError, match="its other parts fit the vae that is there"):
        train("autoencoder", config(tmp_path, "autoencoder"), TrainingData(training_folder), tmp_path / "out", bundle)


def test_the_tokenizer_knows_words_of_training_drives_alone(training_folder, tmp_path):
    """A word is one token if a caption with it was read; drive_b is held out."""
    for told, is_known in (("drive_a", True), ("drive_b", False)):
        with TrainingData(training_folder) as data:
            data.captions = [
                {**row, "caption": "a zeppelin"} if row["source"] == told else row for row in data.captions
            ]
            bundle = tmp_path / told
            assert train("captioner", config(tmp_path, "captioner", steps=1), data, tmp_path / "out" / told, bundle)
        known = AutoTokenizer.from_pretrained(bundle / "tokenizer", local_files_only=True)
        assert (len(known.tokenize("zeppelin")) == 1) == is_known
