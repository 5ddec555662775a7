"""Bundles: whole, undamaged, and exactly the files that they list."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from mdic_ros.codec import Bundle, BundleError, Decoder, Encoder
from mdic_ros.codec.bundle import FINGERPRINTED, ROBOT, WORKSTATION, write_index
from mdic_ros.codec.components import load


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


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"model_id": "x"}', '{"model_id": "x", "sha256": 3}', 10_000 * "["],
    ids=range(5),
)
def test_a_damaged_index(copy, text):
    (copy / "model_index.json").write_text(text)
    with pytest.raises(BundleError, match="damaged"):
        Bundle(copy)


@pytest.mark.parametrize("name", [3, None, "", "two words", "a/b", "line\n", 65 * "a"])
def test_a_model_has_a_name_that_can_stand_anywhere(copy, name):
    change_index(copy, model_id=name)
    with pytest.raises(BundleError, match="1 to 64 letters, digits, dots"):
        Bundle(copy)


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_guidance_is_a_number(copy, scale):
    change_index(copy, guidance_scale=scale)
    with pytest.raises(BundleError, match="guidance_scale must be a number"):
        Bundle(copy)


@pytest.mark.parametrize(
    ("kind", "name"), [(Encoder, "encoder/model.onnx"), (Decoder, "vae/diffusion_pytorch_model.safetensors")]
)
def test_a_changed_file_is_named(copy, kind, name):
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is not the file that"):
        kind.from_pretrained(copy)


@pytest.mark.parametrize(
    "found",
    [
        ["os", "system"],
        ["diffusers", "AutoencoderKL"],
        ["diffusers", "UNet2DConditionModel", "x"],
        ["diffusers"],
        [],
        "diffusers",
        None,
    ],
)
def test_a_bundle_cannot_name_other_classes(copy, found):
    change_index(copy, unet=found)
    with pytest.raises(BundleError, match="unet cannot be"):
        Bundle(copy)


def test_where_in_a_library_a_class_is_may_change(copy, tiny_bundle):
    change_index(copy, entropy_model=["mdic_ros.models.entropy_model", "EntropyModel"])  # version 0.1.0's
    assert Bundle(copy).fingerprint == Bundle(tiny_bundle).fingerprint and load(Bundle(copy), "entropy_model")


@pytest.mark.parametrize(
    "name",
    ["vae/../../secret", "/etc/passwd", "vae//config.json", "vae/./config.json", "vae", "", "README.md", "extra/file",
     "vae\\..\\secret", "../vae/config.json", "vae/"],
)  # fmt: skip
def test_a_bundle_cannot_list_files_elsewhere(copy, name):
    digests = Bundle(copy).digests
    change_index(copy, sha256={**digests, name: "0" * 64})
    with pytest.raises(BundleError, match="is no file of a component's folder"):
        Bundle(copy)


@pytest.mark.parametrize("digest", [None, 0, [], "", "0" * 63, "G" * 64, "A" * 64])
def test_a_digest_is_a_sha256(copy, digest):
    change_index(copy, sha256={**Bundle(copy).digests, "vae/config.json": digest})
    with pytest.raises(BundleError, match=r"the digest of vae/config\.json is no SHA-256"):
        Bundle(copy)


@pytest.mark.parametrize(
    "name",
    ["unet/diffusion_pytorch_model.safetensors.index.json", "unet/diffusion_pytorch_model-00001-of-00001.safetensors",
     "captioner/modeling.py", "vae/.DS_Store", "vae/deep/er/file", "notes.txt", "new_component/config.json"],
)  # fmt: skip
def test_a_file_that_is_not_listed_is_refused_by_name(copy, name):
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    (copy / name).write_text("{}")
    for kind in (Encoder, Decoder):
        with pytest.raises(BundleError, match=f"{name} is not listed in model_index.json"):
            kind.from_pretrained(copy)


def test_an_index_of_shards_with_other_weights_is_refused(copy, other_bundle):
    """Version 0.1.0 loaded these, under the fingerprint of the listed weights."""
    shard = "diffusion_pytorch_model-00001-of-00001.safetensors"
    shutil.copy(other_bundle / "unet" / "diffusion_pytorch_model.safetensors", copy / "unet" / shard)
    names = load_file(copy / "unet" / shard)
    index = {"metadata": {"total_size": 0}, "weight_map": dict.fromkeys(names, shard)}
    (copy / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BundleError, match="is not listed"):
        Decoder.from_pretrained(copy)


@pytest.mark.parametrize("name", ["README.md", "LICENSE", ".gitattributes", ".DS_Store", ".git/config"])
def test_what_people_and_git_put_beside_the_components_is_left_alone(copy, name):
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("text")
    assert Encoder.from_pretrained(copy)


def test_listed_files_may_be_links_as_in_a_symlinked_install_but_folders_may_not(tiny_bundle, tmp_path):
    linked = tmp_path / "linked"
    for file in (path for path in tiny_bundle.rglob("*") if path.is_file()):
        target = linked / file.relative_to(tiny_bundle)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file)
    assert Encoder.from_pretrained(linked).fingerprint == Bundle(tiny_bundle).fingerprint
    shutil.rmtree(linked / "vae")
    (linked / "vae").symlink_to(tiny_bundle / "vae")
    with pytest.raises(BundleError, match="vae is a symbolic link to a folder"):
        Bundle(linked)


def test_the_fingerprint_covers_what_decides_what_bytes_mean(copy, tiny_bundle):
    """Not the encoder's networks, which may choose other tokens and still be understood, nor the captioner."""
    assert {*ROBOT, *WORKSTATION} - {*FINGERPRINTED} == {"encoder", "hyper_align", "captioner"}
    for component in (*ROBOT, *WORKSTATION):
        before = Bundle(copy).fingerprint
        config = next((copy / component).glob("*config.json"))
        config.write_text(config.read_text() + "\n")
        assert (write_index(copy, "changed") != before) == (component in FINGERPRINTED), component


def test_weights_that_do_not_fit_are_a_bundle_error(copy):
    config = copy / "vae" / "config.json"
    config.write_text(config.read_text().replace('"latent_channels": 8', '"latent_channels": 4'))
    write_index(copy, "odd")
    with pytest.raises(BundleError, match="vae"):
        load(Bundle(copy), "vae")


def test_weights_of_an_older_version_are_a_bundle_error(copy):
    """Its classes have the same names, but they lack what the newer ones have: no random numbers in its stead."""
    file = copy / "detail_refiner" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["upsample.weights.bias"]
    save_file(weights, file)
    write_index(copy, "old")
    with pytest.raises(BundleError, match=r"detail_refiner is of another version .* no upsample\.weights\.bias"):
        load(Bundle(copy), "detail_refiner")


def test_components_are_loaded_to_run(tiny_bundle):
    bundle = Bundle(tiny_bundle)
    vae = load(bundle, "vae")
    assert not vae.training and {p.dtype for p in vae.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in vae.parameters())
    with pytest.raises(BundleError, match="has no nothing"):
        bundle.check("nothing")
