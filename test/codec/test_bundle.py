"""Bundles: whole, undamaged, and only what they may hold."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from mdic_ros.codec import Bundle, BundleError, Decoder, Encoder
from mdic_ros.codec.bundle import ROBOT


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


def change_index(path, **changes) -> None:
    index = path / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), **changes}))


def test_the_robot_needs_only_its_half_and_knows_the_same_fingerprint(tiny_bundle, copy):
    for folder in [p for p in copy.iterdir() if p.is_dir() and p.name not in ROBOT]:
        shutil.rmtree(folder)
    assert Encoder.from_pretrained(copy).fingerprint == Decoder.from_pretrained(tiny_bundle).fingerprint
    with pytest.raises(BundleError, match="missing"):
        Decoder.from_pretrained(copy)


def test_bundles_with_other_weights_have_other_fingerprints(tiny_bundle, other_bundle):
    assert Bundle(tiny_bundle).fingerprint != Bundle(other_bundle).fingerprint


def test_a_folder_without_an_index_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"no model_index\.json"):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"model_id": "x"}', '{"model_id": "x", "sha256": 3}'])
def test_a_damaged_index(copy, text):
    (copy / "model_index.json").write_text(text)
    with pytest.raises(BundleError, match="damaged"):
        Bundle(copy)


def test_a_changed_file_is_named(copy):
    weights = next((copy / "vae").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BundleError, match=weights.name):
        Encoder.from_pretrained(copy)


def test_a_bundle_cannot_name_other_classes_or_files(copy):
    change_index(copy, unet=["os", "system"])
    with pytest.raises(BundleError, match="unet cannot be"):
        Bundle(copy)
    change_index(copy, unet=["diffusers", "UNet2DConditionModel"], sha256={"vae/../../secret": "00"})
    with pytest.raises(BundleError, match="missing"):
        Bundle(copy).load("vae")


def test_weights_that_do_not_fit_are_a_bundle_error(copy):
    config = copy / "vae" / "config.json"
    config.write_text(config.read_text().replace('"latent_channels": 8', '"latent_channels": 4'))
    from mdic_ros.codec.bundle import write_index

    write_index(copy, "odd")
    with pytest.raises(BundleError, match="vae"):
        Bundle(copy).load("vae")


def test_weights_of_an_older_version_are_a_bundle_error(copy):
    """Its classes have the same names, but they lack what the newer ones have: no random numbers in its stead."""
    from mdic_ros.codec.bundle import write_index

    file = copy / "detail_refiner" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["upsample.weights.bias"]
    save_file(weights, file)
    write_index(copy, "old")
    with pytest.raises(BundleError, match=r"detail_refiner is of another version .* no upsample\.weights\.bias"):
        Bundle(copy).load("detail_refiner")
