"""The chain from tokens to picture, on the networks of a tiny bundle."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mdic_ros.codec import Bundle
from mdic_ros.codec.components import load
from mdic_ros.models.mdic import MDIC

PARTS = (
    "vae", "quantizer", "hyper_align_side", "side_alignment", "mask_generator", "side_fusion", "unet", "detail_refiner",
    "scheduler",
)  # fmt: skip
GRID = (4, 8)


@pytest.fixture(scope="module")
def mdic(tiny_bundle: Path) -> MDIC:
    bundle = Bundle(tiny_bundle)
    return MDIC(**{name: load(bundle, name) for name in PARTS}).eval()


@pytest.fixture
def tokens(mdic: MDIC) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [mdic.quantizer.grid(scale, *GRID) for scale in range(3)]
    return [torch.randint(64, (2, *size), generator=generator) for size in sizes]


def test_a_picture_per_sample_that_depends_on_tokens_view_text_seed_and_steps(mdic: MDIC, tokens: list[Tensor]) -> None:
    image, z_text, seen = torch.rand(2, 3, 64, 128) * 2 - 1, torch.randn(2, 7, 32), []
    with torch.inference_mode():
        view = mdic.side(image)
        base, condition = mdic.reconstruct(tokens, GRID, [view], z_text, lap=seen.append)
        assert base.shape == image.shape and condition.mask.shape == (2, 1, *GRID)
        assert seen == ["side", "denoise"]
        assert torch.equal(base, mdic.reconstruct(tokens, GRID, [view], z_text)[0])
        others = [
            mdic.reconstruct(tokens[:2], GRID, [view], z_text)[0],
            mdic.reconstruct(tokens, GRID, [mdic.side(image.flip(3))], z_text)[0],
            mdic.reconstruct(tokens, GRID, [view], -z_text)[0],
            mdic.reconstruct(tokens, GRID, [view], z_text, seed=1)[0],
            mdic.reconstruct(tokens, GRID, [view], z_text, steps=2)[0],
            mdic.reconstruct(tokens, GRID, [view], z_text, guidance=2.0, z_empty=torch.zeros_like(z_text))[0],
        ]
    assert not any(torch.allclose(base, other) for other in others)


def test_without_a_view_nothing_is_shared(mdic: MDIC, tokens: list[Tensor]) -> None:
    z_text = torch.randn(2, 7, 32)
    absent = mdic.side(torch.rand(2, 3, 64, 128), torch.zeros(2, 1, 1, 1))
    with torch.inference_mode():
        picture, condition = mdic.reconstruct(tokens, GRID, [mdic.no_side((64, 128), 2)], z_text)
        same, _ = mdic.reconstruct(tokens, GRID, [absent], z_text)
    assert not condition.mask.any() and torch.equal(picture, same)


def test_one_step_is_for_the_least_error_and_more_are_for_looks(mdic: MDIC, tokens: list[Tensor]) -> None:
    told: list[float] = []
    hook = mdic.detail_refiner.register_forward_pre_hook(lambda _, inputs: told.extend(inputs[-1].flatten().tolist()))
    with torch.inference_mode():
        for steps in (1, 2, 10):
            mdic.reconstruct(tokens, GRID, [mdic.no_side((64, 128), 2)], torch.randn(2, 7, 32), steps=steps)
    hook.remove()
    np.testing.assert_array_equal(told, [0, 0, 1, 1, 1, 1])


def test_the_networks_take_one_view_and_some_tokens(mdic: MDIC, tokens: list[Tensor]) -> None:
    view = mdic.side(torch.zeros(2, 3, 64, 128))
    for views in ([], [view, view]):
        with pytest.raises(ValueError, match=f"{len(views)} views"):
            mdic.reconstruct(tokens, GRID, views, torch.randn(2, 7, 32))
    with pytest.raises(ValueError, match="no indices"):
        mdic.reconstruct([], GRID, [view], torch.randn(2, 7, 32))
