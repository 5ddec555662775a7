"""Encoder: images to packets by ONNX Runtime, as PyTorch would choose the tokens."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from mdic_ros.codec import BudgetError, Bundle, BundleError, Encoder, inspect
from mdic_ros.codec.bundle import ENCODER_SOURCES, write_index
from mdic_ros.codec.components import load
from mdic_ros.codec.images import to_pixels
from mdic_ros.codec.limits import MAX_THREADS
from mdic_ros.errors import ImageError, MdicError
from mdic_ros.evaluation.protocol import as_coded
from mdic_ros.models.autoencoder import encode_latent
from mdic_ros.training.tiny import TINY_UNET, make_bundle

DEV = Path(__file__).parents[2] / "../shared/data/stereo/dev"
SIZES = [(64, 128), (128, 256), (65, 129), (192, 320), (101, 333), (320, 448), (370, 740)]


class Torch:
    """The same networks in PyTorch."""

    def __init__(self, path: Path | None = None) -> None:
        self._vae, self._hyper_align, self._quantizer = (load(Bundle(path), name) for name in ENCODER_SOURCES)

    @torch.inference_mode()
    def tokens(self, image: np.ndarray, view: str = "left") -> list[np.ndarray]:
        pixels = torch.from_numpy(to_pixels(image, mirror=view == "right"))
        return [grid[0].numpy() for grid in self._quantizer(self._hyper_align(encode_latent(self._vae, pixels)))[1]]


def agreement(one: list[np.ndarray], two: list[np.ndarray]) -> float:
    """Share of positions with the same token."""
    assert [grid.shape for grid in one] == [grid.shape for grid in two]
    return float(np.mean(np.concatenate([(a == b).ravel() for a, b in zip(one, two, strict=True)])))


@pytest.mark.parametrize("size", SIZES)
def test_tokens_are_those_of_pytorch_at_any_size(encoder, tiny_bundle, scene, size):
    reference = Torch(tiny_bundle)
    noise = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    for image, view in ((scene(*size), "left"), (noise, "left"), (scene(*size), "right")):
        tokens = encoder._tokens(image, view, encoder.rate_points)
        assert all(grid.dtype == np.int64 for grid in tokens)
        assert agreement(tokens, reference.tokens(image, view)) >= 0.995


def test_networks_in_the_shape_of_stable_diffusion(tmp_path, scene):
    """Attention in the autoencoder, no pixel blocks."""
    four = ("DownEncoderBlock2D",) * 4
    vae = {"in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": (8, 8, 8, 8)}
    vae |= {"down_block_types": four, "up_block_types": ("UpDecoderBlock2D",) * 4, "norm_num_groups": 4}
    unet = {**TINY_UNET, "out_channels": 4}
    path = make_bundle(tmp_path, vae_config={**vae, "mid_block_add_attention": True}, unet_config=unet)
    encoder, reference = Encoder.from_pretrained(path), Torch(path)
    for size in ((64, 128), (192, 256)):
        assert agreement(encoder._tokens(scene(*size), "left", 5), reference.tokens(scene(*size))) >= 0.995


@pytest.mark.skipif(not DEV.is_dir(), reason="needs KITTI images that are not in the repository")
def test_tokens_of_real_images_are_those_of_pytorch():
    encoder, reference = Encoder.from_pretrained(), Torch()
    files = sorted(DEV.rglob("*.png"))
    assert len(files) == 80
    shares = []
    for file in files:
        view = file.parent.name
        image = as_coded(np.asarray(Image.open(file).convert("RGB")), "kitti")
        shares.append(agreement(encoder._tokens(image, view, 5), reference.tokens(image, view)))
    assert np.mean(shares) >= 0.995


def test_one_thread_or_two_the_packets_are_the_same(encoder, tiny_bundle, scene):
    image = scene(128, 256)
    assert Encoder.from_pretrained(tiny_bundle, threads=1).encode(image) == encoder.encode(image)
    assert Encoder.from_pretrained(tiny_bundle, threads=2).encode(image) == encoder.encode(image)


@pytest.mark.parametrize("threads", [-1, MAX_THREADS + 1, 100_000])
def test_a_number_of_threads_out_of_range_is_refused(tiny_bundle, threads):
    with pytest.raises(MdicError, match=f"{threads} threads cannot be had: take 1 to 256"):
        Encoder.from_pretrained(tiny_bundle, threads=threads)


def test_threads_that_wait_do_not_spin(tiny_bundle):
    options = Encoder.from_pretrained(tiny_bundle, threads=3)._networks.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.inter_op.allow_spinning") == "0"


def test_rate_points_are_prefixes(encoder, scene):
    streams = encoder.encode_all(scene(128, 256))
    assert len(streams) == encoder.rate_points == 5
    assert [inspect(stream).rate_point for stream in streams] == [0, 1, 2, 3, 4]
    assert [len(stream) for stream in streams] == sorted(len(stream) for stream in streams)
    assert [encoder.encode(scene(128, 256), rate_point=point) for point in range(5)] == streams


def test_budgets(encoder, scene):
    image = scene(128, 256)
    sizes = [len(s) for s in encoder.encode_all(image)]
    assert len(encoder.encode(image, max_bytes=sizes[2])) == sizes[2]
    assert len(encoder.encode(image, max_bytes=sizes[3] - 1)) == sizes[2]
    assert len(encoder.encode(image, max_bytes=10**6, rate_point=1)) == sizes[1]
    with pytest.raises(BudgetError, match=f"has {sizes[0]} bytes") as error:
        encoder.encode(image, max_bytes=3)
    assert error.value.smallest == sizes[0]


def test_scales_that_are_not_asked_for_are_not_coded(encoder, scene, monkeypatch):
    image = scene(128, 256)
    streams = encoder.encode_all(image)
    coded = []
    code = encoder._coder.encode
    monkeypatch.setattr(encoder._coder, "encode", lambda *args: coded.append(code(*args)) or coded[-1])
    assert encoder.encode(image, rate_point=1) == streams[1]
    assert encoder.encode(image, max_bytes=len(streams[2])) == streams[2]
    assert encoder.encode(image, max_bytes=len(streams[4])) == streams[4]
    assert encoder.encode_all(image, rate_point=1) == streams[:2]
    assert [len(payloads) for payloads in coded] == [2, 4, 5, 2]


def test_times_of_the_stages(encoder, scene):
    encoder.encode_all(scene(64, 128))
    times = dict(encoder.timings)
    assert list(times) == ["tokens", "entropy", "total"]
    total = times.pop("total")
    assert all(time > 0 for time in times.values()) and sum(times.values()) == pytest.approx(total)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((128, 256), np.uint8),
        np.zeros((128, 256, 4), np.uint8),
        np.zeros((128, 256, 3), np.float32),
        np.zeros((63, 256, 3), np.uint8),
        np.zeros((128, 127, 3), np.uint8),
        "left.png",
    ],
)
def test_what_is_no_image_is_refused(encoder, image):
    with pytest.raises(ImageError):
        encoder.encode(image)


def test_bad_arguments_say_what_is_allowed(encoder, scene):
    image = scene(64, 128)
    with pytest.raises(ValueError, match=r"0\.\.4"):
        encoder.encode(image, rate_point=5)
    with pytest.raises(ValueError, match=r"0\.\.4"):
        encoder.encode_all(image, rate_point=-1)
    with pytest.raises(ValueError, match="left or right"):
        encoder.encode(image, view="both")


def test_read_only_and_strided_images_work(encoder, scene):
    image = scene(64, 128)
    flipped = image[:, ::-1]
    image.setflags(write=False)
    assert encoder.encode(image) and encoder.encode(flipped) == encoder.encode(flipped.copy())


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:1"])
def test_a_device_that_there_is_not(tiny_bundle, device):
    with pytest.raises(MdicError, match="cpu, cuda or cuda:NUMBER"):
        Encoder.from_pretrained(tiny_bundle, device=device)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is here")
def test_cuda_without_a_runtime_for_it_is_a_sentence(tiny_bundle):
    with pytest.raises(MdicError, match="onnxruntime-gpu"):
        Encoder.from_pretrained(tiny_bundle, device="cuda:1")


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


def test_a_bundle_without_the_encoders_graph_says_how_to_make_it(copy):
    shutil.rmtree(copy / "encoder")
    write_index(copy, "old")
    with pytest.raises(BundleError, match="has no encoder: `mdic export` makes it"):
        Encoder.from_pretrained(copy)


def test_a_graph_of_other_weights_is_refused(copy, other_bundle):
    shutil.copytree(other_bundle / "quantizer", copy / "quantizer", dirs_exist_ok=True)
    write_index(copy, "mixed")
    with pytest.raises(BundleError, match=r"other weights .* make it again with `mdic export`"):
        Encoder.from_pretrained(copy)


def test_a_graph_that_is_none(copy):
    (copy / "encoder" / "model.onnx").write_bytes(b"no graph")
    write_index(copy, "odd")
    with pytest.raises(BundleError, match="encoder cannot be loaded"):
        Encoder.from_pretrained(copy)
    (copy / "encoder" / "config.json").write_text(json.dumps({}))
    write_index(copy, "odd")
    with pytest.raises(BundleError, match="encoder cannot be loaded"):
        Encoder.from_pretrained(copy)


def test_no_usage_data_is_collected(tiny_bundle: Path, tmp_path: Path) -> None:
    """ONNX Runtime keeps what it would send in the user's cache folder."""
    code = "import sys, time; from mdic_ros.codec import Encoder; Encoder.from_pretrained(sys.argv[1]); time.sleep(1)"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code, str(tiny_bundle)], env=environment, check=True, timeout=120)
    assert not [file for file in tmp_path.rglob("*") if "onnxruntime" in file.as_posix()]
