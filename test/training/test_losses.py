"""The losses that teach the alignment, the mask and the texture."""

import math

import pytest
import torch
import torch.nn.functional as F

from mdic_ros.models.side_alignment import Match
from mdic_ros.training.codec import alignment_losses, match_loss, offset_loss, psnr_weighted_mse, shared_loss
from mdic_ros.training.realism import grid_distance, texture_distance

STRIDE = 8


def looking(offset_x: float, offset_y: float = 0.0, h: int = 4, w: int = 12) -> Match:
    """An alignment that is sure of one whole offset, in positions."""
    probability = torch.zeros(1, h, w, 3, w)
    for column in range(w):
        target = min(max(column + int(offset_x), 0), w - 1)
        probability[0, :, column, 1 + int(offset_y), target] = 1
    return Match(probability, torch.tensor([offset_x, offset_y]).view(1, 2, 1, 1).expand(1, 2, h, w))


def flow(x: float, y: float = 0.0, h: int = 4, w: int = 12) -> torch.Tensor:
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, h * STRIDE, w * STRIDE).clone()


def test_looking_at_the_right_place_costs_nothing():
    assert match_loss(looking(-2), flow(-16), STRIDE) == pytest.approx(0, abs=2e-3)
    assert match_loss(looking(-2, 1), flow(-16, 8), STRIDE) == pytest.approx(0, abs=2e-3)
    assert match_loss(looking(-2), flow(-24), STRIDE) > 5


def test_an_alignment_that_kept_no_probabilities_is_refused():
    with pytest.raises(ValueError, match="training mode"):
        match_loss(Match(None, looking(-2).offset), flow(-16), STRIDE)


def test_half_way_between_two_places_both_count():
    both = Match((looking(-2).probability + looking(-1).probability) / 2, looking(-1.5).offset)
    one = match_loss(looking(-2), flow(-12), STRIDE)
    assert match_loss(both, flow(-12), STRIDE) == pytest.approx(math.log(2), abs=0.05)
    assert one == pytest.approx(math.log(2), abs=0.05)


def test_where_the_flow_is_unknown_nothing_is_asked():
    unknown = torch.full_like(flow(0), math.nan)
    assert match_loss(looking(-2), unknown, STRIDE) == 0 and offset_loss(looking(-2), unknown, STRIDE) == 0
    part = flow(-16)
    part[:, :, :, 40:] = math.nan
    assert match_loss(looking(-2), part, STRIDE) == pytest.approx(0, abs=2e-3)


def test_offsets_are_compared_in_pixels():
    assert offset_loss(looking(-2), flow(-16), STRIDE) == 0
    assert offset_loss(looking(-2), flow(-18), STRIDE) == pytest.approx(2)


def test_probable_places_and_offsets_are_told_apart_on_every_grid():
    pixels = Match(None, flow(-17))
    quarter = Match(None, looking(-4).offset.repeat_interleave(2, 2).repeat_interleave(2, 3))  # of 4 pixels
    looked, offsets = alignment_losses([looking(-2), Match(None, looking(-3).offset), quarter, pixels], flow(-16))
    assert [loss.item() for loss in looked] == pytest.approx([0], abs=2e-3)
    assert [loss.item() for loss in offsets] == pytest.approx([8, 0, 1])
    with pytest.raises(ValueError, match="training mode"):
        alignment_losses([pixels], flow(-16))


def test_the_mask_is_to_open_where_a_point_was_found_and_to_shut_for_another_scene():
    known, unknown = flow(-3), torch.full_like(flow(0), math.nan)
    mine, other = torch.zeros(1, 1, 1, 1, dtype=torch.bool), torch.ones(1, 1, 1, 1, dtype=torch.bool)
    open_mask, shut = torch.full((1, 1, 2, 6), 0.99), torch.full((1, 1, 2, 6), 0.01)
    assert shared_loss(open_mask, known, mine) < 0.02 < 4 < shared_loss(shut, known, mine)
    assert shared_loss(shut, unknown, other) < 0.02 < 4 < shared_loss(open_mask, unknown, other)
    assert shared_loss(shut, unknown, mine) == 0


def test_texture_tells_blur_and_texture_in_the_wrong_place():
    torch.manual_seed(0)
    original = torch.zeros(1, 3, 64, 128)
    original[..., 64:] = 0.5 * torch.randn(1, 3, 64, 64)
    blurred, swapped = F.avg_pool2d(original, 3, 1, 1), original.flip(3)
    other = torch.zeros_like(original)
    other[..., 64:] = 0.5 * torch.randn(1, 3, 64, 64)  # other leaves on the same tree

    def distance(picture: torch.Tensor) -> float:
        torch.manual_seed(1)
        return texture_distance(picture, original).item()

    assert distance(original) == 0
    assert distance(other) < distance(blurred) / 4 and distance(other) < distance(swapped) / 4


def test_an_error_that_repeats_with_the_blocks_is_told_from_one_that_does_not():
    torch.manual_seed(0)
    original = torch.randn(2, 3, 64, 128)
    noise = 0.1 * torch.randn_like(original)
    grid = torch.zeros_like(original)
    grid[..., ::4] = 0.1  # every fourth column too bright
    assert grid_distance(original, original) == 0
    assert grid_distance(original + 0.3, original) == pytest.approx(0, abs=0.01)  # all too bright: no grid
    assert grid_distance(original + noise, original) == pytest.approx(1, abs=0.15)
    assert grid_distance(original + noise + grid, original) > 5


def test_the_mse_weighted_by_psnr_gives_good_and_bad_pictures_the_same_say():
    original = torch.zeros(2, 3, 8, 8)
    picture = torch.stack([torch.full((3, 8, 8), 0.1), torch.full((3, 8, 8), 0.4)]).requires_grad_()
    loss = psnr_weighted_mse(picture, original)
    assert loss.item() == pytest.approx(F.mse_loss(picture, original).item())
    loss.backward()
    assert picture.grad is not None
    relative = picture.grad.flatten(1).sum(1) * picture.detach().flatten(1).mean(1)
    assert relative[0].item() == pytest.approx(relative[1].item())  # d log(mse) is the same for both
