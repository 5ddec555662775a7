"""Figures through pretrained networks, with random weights in the published files' format in the networks' place."""

import dataclasses
import hashlib
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from mdic_ros.backbones import FILES, FidInception, Missing, WeightsError, alexnet, locate, vgg16
from mdic_ros.evaluation.errors import EvaluationError
from mdic_ros.evaluation.perceptual import InceptionDistances, load_metrics

VGG16 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, "pool")


def vgg16_layers() -> nn.Sequential:
    """torchvision's `features`, in its order."""
    layers, channels = [], 3
    for width in VGG16:
        if width == "pool":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
    return nn.Sequential(*layers)


def alexnet_layers() -> nn.Sequential:
    shapes = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
    layers = []
    for number, shape in enumerate(shapes):
        layers += [nn.Conv2d(*shape), nn.ReLU(inplace=True)]
        if number in (0, 1, 4):
            layers.append(nn.MaxPool2d(3, 2))
    return nn.Sequential(*layers)


def random_features(layers: nn.Sequential, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.05)
    return layers.eval()


@pytest.fixture(scope="module")
def nets():
    return {"vgg16": random_features(vgg16_layers(), 1), "alexnet": random_features(alexnet_layers(), 2)}


def inception_state() -> dict[str, torch.Tensor]:
    """Random weights under the published names: FID's Inception with its classifier, without step counters."""
    torch.manual_seed(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mdic_ros.backbones._state", lambda path: {})
        patch.setattr("mdic_ros.backbones._frozen", lambda net, state: None)
        net = FidInception(Path())
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    state = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    return {**state, "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory, nets):
    """The folder of stand-ins, and the table of its files with their digests."""
    folder = tmp_path_factory.mktemp("weights")
    for key, net in nets.items():
        state = {f"features.{name}": value for name, value in net.state_dict().items()}
        torch.save({**state, "classifier.6.bias": torch.zeros(1000)}, folder / FILES[key].name)
    torch.save(inception_state(), folder / FILES["inception"].name)
    np.savez(folder / FILES["niqe"].name, mu_pris_param=np.zeros((1, 36)), cov_pris_param=np.eye(36))
    torch.manual_seed(4)
    config = SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[4, 2], hidden_sizes=[8, 16], patch_sizes=[7, 3], strides=[4, 2],
        num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=16, num_labels=5,
    )  # fmt: skip
    SegformerForSemanticSegmentation(config).save_pretrained(folder / "segmentation")
    SegformerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder / "segmentation")
    digests = {
        key: hashlib.sha256((folder / file.name).read_bytes()).hexdigest()[: len(file.sha256)]
        for key, file in FILES.items()
    }
    return folder, {key: dataclasses.replace(file, sha256=digests[key]) for key, file in FILES.items()}


@pytest.fixture(scope="module")
def figures(weights):
    """Every figure by its name."""
    per_image, per_set, absent = load_metrics(*weights)
    assert absent == []
    return {metric.name: metric for metric in (*per_image, *per_set)}


@pytest.fixture(scope="module")
def soft(photographs):
    return [np.asarray(Image.fromarray(p).filter(ImageFilter.GaussianBlur(2))) for p in photographs]


def test_without_weights_the_rest_is_there_and_says_what_is_needed():
    per_image, per_set, absent = load_metrics(None)
    assert {"PSNR", "MS-SSIM", "gradient distance"} <= {metric.name for metric in per_image}
    assert {"MS-SSIM dB", "SWD x 1000", "spectrum distance"} <= {metric.name for metric in per_set}
    why = {metric.name: metric.why for metric in absent}
    assert list(why) == ["LPIPS (VGG16)", "LPIPS (AlexNet)", "DISTS", "NIQE", "FID", "KID", "mIoU"]
    command = "curl -LO https://download.pytorch.org/models/vgg16-397923af.pth"
    assert why["DISTS"] == f"needs vgg16-397923af.pth in the folder of weights; get it with: {command}"
    assert "hf download" in why["mIoU"] and "model.safetensors" in why["mIoU"]


def test_part_of_the_weights_gives_part_of_the_figures(weights, tmp_path):
    folder, files = weights
    (tmp_path / files["niqe"].name).symlink_to(folder / files["niqe"].name)
    per_image, _, absent = load_metrics(tmp_path, files)
    assert per_image[-1].name == "NIQE"
    assert [metric.name for metric in absent] == ["LPIPS (VGG16)", "LPIPS (AlexNet)", "DISTS", "FID", "KID", "mIoU"]


def test_names_carry_the_digests():
    for key in ("vgg16", "alexnet", "inception"):
        assert FILES[key].name.endswith(f"-{FILES[key].sha256}.pth") and FILES[key].url.endswith(FILES[key].name)


def test_another_file_is_refused(weights, tmp_path):
    folder, _ = weights
    with pytest.raises(WeightsError, match=r"vgg16-397923af.pth is damaged or another file.*curl -LO"):
        load_metrics(folder)  # the stand-ins do not have the published digests
    with pytest.raises(Missing, match=r"needs niqe_pris_params\.npz"):
        locate(tmp_path, FILES["niqe"])
    with pytest.raises(EvaluationError, match="is no folder: --weights takes"):
        load_metrics(tmp_path / "nothing")


class _Executed:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_code_in_a_file_does_not_run(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / FILES["vgg16"].name
    torch.save({"features.0.weight": _Executed()}, path)
    file = dataclasses.replace(FILES["vgg16"], sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        load_metrics(tmp_path, {**FILES, "vgg16": file})
    assert not Path("executed").exists()


@pytest.mark.parametrize("name", ["LPIPS (VGG16)", "LPIPS (AlexNet)", "DISTS"])
def test_distances_through_a_net_grow_with_damage(figures, photographs, soft, name):
    metric, original = figures[name], photographs[0]
    slightly = np.asarray(Image.fromarray(original).filter(ImageFilter.GaussianBlur(0.5)))
    assert metric.lower_is_better
    assert metric.call(original, original) == pytest.approx(0, abs=1e-5)
    assert 1e-4 < metric.call(slightly, original) < metric.call(soft[0], original)


@pytest.mark.parametrize(("name", "net", "short"), [("VGG16", "vgg16", "vgg"), ("AlexNet", "alexnet", "alex")])
def test_lpips_is_torchmetrics(figures, nets, photographs, soft, monkeypatch, name, net, short):
    """torchmetrics takes its net from torchvision, which is not here: it is given the same layers."""
    from torchmetrics.functional.image import lpips

    monkeypatch.setattr(lpips, "_get_tv_model_features", lambda kind, pretrained: nets[net])
    a, b = (torch.tensor(p[0]).permute(2, 0, 1)[None] / 127.5 - 1 for p in (soft, photographs))
    wanted = lpips.learned_perceptual_image_patch_similarity(a, b, net_type=short)
    assert figures[f"LPIPS ({name})"].call(soft[0], photographs[0]) == pytest.approx(float(wanted), rel=1e-4)


def test_dists_is_torchmetrics(figures, nets, photographs, soft, monkeypatch):
    from torchmetrics.functional.image import dists

    class Vgg:
        DEFAULT = None
        features = nets["vgg16"]

    monkeypatch.setattr(dists, "_TORCHVISION_AVAILABLE", True)
    monkeypatch.setattr(dists, "VGG16_Weights", Vgg, raising=False)
    monkeypatch.setattr(dists, "vgg16", lambda weights: Vgg, raising=False)
    a, b = (torch.tensor(p[0]).permute(2, 0, 1)[None] / 255 for p in (soft, photographs))
    wanted = dists.deep_image_structure_and_texture_similarity(a, b)
    assert figures["DISTS"].call(soft[0], photographs[0]) == pytest.approx(float(wanted.detach()), rel=1e-4)


def test_stages_are_those_of_the_whole_net(weights, nets):
    folder, files = weights
    image = torch.rand(1, 3, 64, 64)
    for key, build, taps in (("vgg16", vgg16, (3, 8, 15, 22, 29)), ("alexnet", alexnet, (1, 4, 7, 9, 11))):
        with torch.inference_mode():
            found = build(folder / files[key].name)(image)
            wanted = [nets[key][: tap + 1](image.clone()) for tap in taps]
        for ours, theirs in zip(found, wanted, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)


def test_niqe_looks_at_the_picture_alone(figures, photographs):
    call = figures["NIQE"].call
    assert call(photographs[0], photographs[0]) == call(photographs[0], photographs[1]) > 0


def test_inception_has_the_published_shape(weights):
    folder, files = weights
    with torch.inference_mode():
        features = FidInception(folder / files["inception"].name)(torch.rand(1, 3, 128, 256) * 255)
    assert features.shape == (1, 2048) and (features >= 0).all()
    state = torch.load(folder / files["inception"].name, weights_only=True)
    assert len(state) == 94 * 5 + 2  # convolutions with their normalisation, classifier
    assert state["Mixed_6b.branch7x7dbl_4.conv.weight"].shape == (128, 128, 7, 1)
    assert state["Mixed_7c.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)


def test_fid_and_kid(figures, photographs, soft):
    fid, kid = figures["FID"].call, figures["KID"].call
    photographs, soft = photographs[:3], soft[:3]
    before = torch.random.get_rng_state()
    alike, apart = kid(photographs, photographs), kid(soft, photographs)
    assert torch.equal(before, torch.random.get_rng_state())
    assert alike < apart == kid(soft, photographs)
    assert fid(soft, photographs) > 10 * abs(fid(photographs, photographs))
    assert math.isnan(fid(soft[:1], photographs[:1])) and math.isnan(kid(soft[:1], photographs[:1]))


def test_fid_and_kid_of_known_features(weights, photographs):
    folder, files = weights
    distances = InceptionDistances(folder / files["inception"].name)
    rng = np.random.default_rng(0)
    ours, theirs = (torch.tensor(rng.normal(size=(4, 2048)), dtype=torch.float32) for _ in range(2))
    found = {id(image): row for image, row in zip([*photographs[:2], *photographs[2:4]], [*ours[:2], *theirs[:2]])}
    distances.features = lambda images: [found[id(image)][None] for image in images]
    a, b = ours[:2].double(), theirs[:2].double()
    # Of two points each the covariances have rank one, and the trace of the root of their product is a number.
    first, second = (x[1] - x[0] for x in (a, b))
    traces = (first @ first + second @ second) / 2 - (first @ second).abs()
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + traces
    assert distances.fid(photographs[:2], photographs[2:4]) == pytest.approx(float(wanted), rel=1e-3)
    kernel = lambda x, y: (x @ y.T / 2048 + 1) ** 3  # noqa: E731
    wanted = kernel(a, a)[0, 1] + kernel(b, b)[0, 1] - 2 * kernel(a, b).mean()
    assert distances.kid(photographs[:2], photographs[2:4]) == pytest.approx(float(wanted), rel=1e-3)


def test_fid_is_torchmetrics(weights, photographs):
    """Also of so few pictures that the distance is taken in the dimensions that they span."""
    from torchmetrics.image.fid import _compute_fid

    folder, files = weights
    distances = InceptionDistances(folder / files["inception"].name)
    torch.manual_seed(0)
    found = {"ours": 3 * torch.rand(5, 60) ** 2, "theirs": torch.rand(5, 60)}
    distances.features = lambda name: list(found[name].split(1))
    few = distances.fid("ours", "theirs")
    a, b = (found[name].double() for name in ("ours", "theirs"))
    wanted = _compute_fid(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T))
    assert few == pytest.approx(float(wanted), rel=1e-4)


def test_a_set_is_looked_at_once(weights, photographs, soft):
    folder, files = weights
    distances = InceptionDistances(folder / files["inception"].name)
    looked = []
    answer = distances.features.answer
    distances.features.answer = lambda image: (looked.append(1), answer(image))[1]
    first = distances.kid(soft[:2], photographs[:2])
    assert len(looked) == 4
    assert distances.kid([p.copy() for p in soft[:2]], photographs[:2]) == first
    assert len(looked) == 4
    distances.kid(soft[2:4], photographs[:2])
    assert len(looked) == 6


def test_miou_of_what_the_network_sees(weights, figures, photographs, soft):
    metric = figures["mIoU"]
    assert "segformer" in metric.meaning and "5 classes" in metric.meaning and not metric.lower_is_better
    assert re.search("unchecked: no published digest; its own sha256 is [0-9a-f]{8}, 5 classes", metric.meaning)
    assert metric.call(photographs, photographs) == 1
    folder, _ = weights
    net = SegformerForSemanticSegmentation.from_pretrained(folder / "segmentation").eval()

    def labels(image):
        small = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR), np.float32) / 255
        pixels = (small - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
        with torch.inference_mode():
            logits = net(torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None]).logits
        return nn.functional.interpolate(logits, image.shape[:2], mode="bilinear").argmax(1).numpy()

    ours, theirs = (np.concatenate([labels(image) for image in images]) for images in (soft, photographs))
    unions = [(np.sum((ours == n) & (theirs == n)), np.sum((ours == n) | (theirs == n))) for n in range(5)]
    wanted = np.mean([both / either for both, either in unions if either])
    assert 0 < wanted < 1
    assert metric.call(soft, photographs) == pytest.approx(wanted, abs=1e-3)


def test_half_a_segmentation_network_is_refused(weights, tmp_path):
    shutil.copytree(weights[0] / "segmentation", tmp_path / "segmentation")
    file = tmp_path / "segmentation" / "model.safetensors"
    save_file({key: value for key, value in load_file(file).items() if not key.startswith("decode_head")}, file)
    with pytest.raises(WeightsError, match=r"no whole segmentation network.*decode_head"):
        load_metrics(tmp_path, weights[1])
    file.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="cannot be loaded as a segmentation network"):
        load_metrics(tmp_path, weights[1])
