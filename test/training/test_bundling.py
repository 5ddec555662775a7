"""Components are written so that nobody meets half of one."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mdic_ros.codec import Encoder
from mdic_ros.codec.bundle import Bundle, BundleError, write_index
from mdic_ros.training.bundling import component_folder, finish_bundle, halve, write_component


class Part:
    def __init__(self, content: str, fail: bool = False) -> None:
        self.content, self.fail = content, fail

    def save_pretrained(self, folder) -> None:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(self.content)
        if self.fail:
            raise OSError("no space left on device")


def test_a_component_is_the_old_or_the_new_one(tmp_path):
    folder = tmp_path / "bundle" / "part"
    write_component(Part("old"), folder)
    with pytest.raises(OSError, match="no space"):
        write_component(Part("half of the n", fail=True), folder)
    assert (folder / "config.json").read_text() == "old"
    write_component(Part("new"), folder)
    assert (folder / "config.json").read_text() == "new"
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["part"]


def test_weights_are_halved_once(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file({"weight": torch.tensor([1.0, 1 / 3]), "count": torch.tensor([70000])}, file)
    halve(tmp_path)
    halved = load_file(file)
    assert halved["weight"].dtype == torch.float16 and halved["count"].tolist() == [70000]
    before = file.stat().st_mtime_ns
    halve(tmp_path)
    assert file.stat().st_mtime_ns == before and [path.name for path in tmp_path.iterdir()] == [file.name]


def test_guidance_is_kept_and_the_name_fits(tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    (bundle / "model_index.json").unlink()
    finish_bundle(bundle, "my model (1)")
    assert (Bundle(bundle).guidance, Bundle(bundle).model_id) == (1, "my_model__1_")
    write_index(bundle, "model", guidance_scale=3.0)
    (bundle / "unet" / "new.json").write_text("{}")  # training has written more than the index lists
    finish_bundle(bundle, "model")
    assert Bundle(bundle).guidance == 3 and "unet/new.json" in Bundle(bundle).digests


def test_a_finished_bundle_has_its_encoder_as_onnx(tiny_bundle, other_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    for name in ("vae", "hyper_align", "quantizer"):  # other weights, as training writes them
        shutil.copytree(other_bundle / name, bundle / name, dirs_exist_ok=True)
    finish_bundle(bundle, "model")
    assert (bundle / "encoder" / "model.onnx").read_bytes() == (other_bundle / "encoder" / "model.onnx").read_bytes()
    assert Encoder.from_pretrained(bundle)


@pytest.mark.parametrize(
    "name", ["diffusion_pytorch_model.safetensors.index.json", "pytorch_model.bin", "more.safetensors"]
)
def test_a_component_in_training_holds_nothing_else(tiny_bundle: Path, tmp_path: Path, name: str) -> None:
    """An index of shards beside the weights would have other weights loaded."""
    shutil.copytree(tiny_bundle / "vae", tmp_path / "vae")
    assert component_folder(tmp_path, "vae") == tmp_path / "vae"
    (tmp_path / "vae" / name).write_text("{}")
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        component_folder(tmp_path, "vae")
