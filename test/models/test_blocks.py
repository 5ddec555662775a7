"""The blocks of MDIC: shapes, and that each depends on what it should and on nothing else."""

import pytest
import torch
import torch.nn.functional as F

from mdic_ros.models.detail_refiner import DetailRefiner
from mdic_ros.models.hyper_align import HyperAlign, WindowAttention
from mdic_ros.models.layers import ContextUNet, warp
from mdic_ros.models.mask_generator import MaskGenerator
from mdic_ros.models.offset_refinement import ConvexUpsample, OffsetUpdate
from mdic_ros.models.quantizer import MultiScaleQuantizer
from mdic_ros.models.side_alignment import RowAttention, SideAlignment
from mdic_ros.models.side_fusion import ClusterFusion, SideFusion

GRIDS = ("1/4", "1/2", "3/4", "1")


def quantizer(**options) -> MultiScaleQuantizer:
    torch.manual_seed(0)
    return MultiScaleQuantizer(features=16, codebook_size=32, codebook_dim=8, **{"grids": GRIDS, **options}).eval()


def test_quantizer_indices_give_back_its_own_reconstruction_at_every_rate_point():
    vq = quantizer()
    partial, indices, commitment, _ = vq(torch.randn(2, 16, 8, 12))
    assert [tuple(i.shape) for i in indices] == [(2, 2, 3), (2, 4, 6), (2, 6, 9), (2, 8, 12)]
    assert all(i.min() >= 0 and i.max() < 32 for i in indices)
    assert commitment.shape == ()
    for scale in range(4):
        torch.testing.assert_close(vq.dequantize(indices[: scale + 1], (8, 12)), partial[scale])


def test_each_grid_codes_what_the_coarser_ones_left_over():
    vq = quantizer()
    features = torch.nn.functional.interpolate(torch.randn(4, 16, 2, 3), size=(8, 12), mode="bilinear")
    partial = vq(features)[0]
    assert not torch.allclose(partial[0], partial[3])
    with pytest.raises(ValueError, match="no indices"):
        vq.dequantize([], (8, 12))


def test_a_single_grid_is_a_list_of_length_one():
    vq = quantizer(grids=("1",))
    partial, indices = vq(torch.randn(1, 16, 8, 12))[:2]
    assert len(partial) == len(indices) == 1 and indices[0].shape == (1, 8, 12)


def test_grids_must_be_quarters():
    with pytest.raises(ValueError, match="quarters"):
        quantizer(grids=("1/3",))


def test_codebooks_learn_from_the_coded_view_only():
    vq = quantizer().train()
    before = vq.quantizers[0].codebook.clone()
    vq(torch.randn(2, 16, 8, 12), learn=False)
    assert torch.equal(vq.quantizers[0].codebook, before)
    vq(torch.randn(2, 16, 8, 12))
    assert not torch.equal(vq.quantizers[0].codebook, before)


def test_outside_training_it_chooses_as_the_library_does():
    vq = quantizer().train()
    features = torch.randn(2, 16, 8, 12)
    with torch.no_grad():
        before = vq(features, learn=False)
        after = vq.eval()(features)
    for one, two in zip(before[0] + before[1], after[0] + after[1], strict=True):
        torch.testing.assert_close(one, two)
    assert before[2] > 0 == after[2]


def test_soft_assignments_agree_with_the_indices_and_reach_the_features():
    vq = quantizer()
    features = torch.randn(2, 16, 8, 12, requires_grad=True)
    _, indices, _, soft = vq(features, soft=True)
    for hard, weights in zip(indices, soft, strict=True):
        assert weights.shape == (*hard.shape, 32)
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        assert torch.equal(weights.argmax(-1), hard)
    soft[3][..., 0].sum().backward()
    assert features.grad.abs().sum() > 0


def test_the_gradient_goes_straight_through_all_grids():
    vq = quantizer(grids=("1", "1", "1")).train()
    features = torch.randn(1, 16, 4, 4, requires_grad=True)
    vq(features)[0][-1].sum().backward()
    with torch.no_grad():
        weight = vq.project_out.weight[..., 0, 0] @ vq.project_in.weight[..., 0, 0]
    torch.testing.assert_close(features.grad[0, :, 0, 0], weight.sum(0), atol=1e-4, rtol=1e-4)


def test_hyper_align_halves_the_latent():
    net = HyperAlign(latent_channels=4, channels=16, features=24).eval()
    assert net(torch.randn(2, 4, 16, 32)).shape == (2, 24, 8, 16)


def test_window_attention_ignores_other_windows_and_padding():
    torch.manual_seed(0)
    net = WindowAttention(16).eval()
    x = torch.randn(1, 16, 10, 20)  # two windows of 8x16 each way, padded
    moved = x.clone()
    moved[:, :, 9, 19] += 5.0
    # GroupNorm sees the whole image, so compare what attention alone does.
    net.norm = torch.nn.Identity()
    change = (net(x) - net(moved)).abs().sum(1)[0]
    assert change[:8].max() == 0 and change[8:, :16].max() == 0 and change[8:, 16:].max() > 0


def test_row_attention_looks_along_its_row_and_those_next_to_it():
    torch.manual_seed(0)
    net = RowAttention(16, heads=4, reach=3).eval()
    net.norm_x = net.norm_y = torch.nn.Identity()
    x, y = torch.randn(1, 16, 6, 12), torch.randn(1, 16, 6, 12)
    moved = y.clone()
    moved[:, :, 2, 7] += 3.0
    change = (net(x, y)[0] - net(x, moved)[0]).abs().sum(1)[0]
    assert change[[0, 4, 5]].max() == 0 and change[1:4].amax(1).min() > 0


def test_row_attention_weighs_likeness_and_both_views_guesses_of_their_offsets():
    torch.manual_seed(0)
    net = RowAttention(16, heads=2, reach=5).train()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, y = torch.randn(1, 16, 3, 9), torch.randn(1, 16, 3, 9)
    match = net(x, y)[1]
    a, b = net.norm_x(x)[0], net.norm_y(y)[0]
    q, k = net.q(a), net.kv(b)[:16]
    x_guess, y_guess = net.guess_x(a).view(2, 2, 3, 9), net.guess_y(b).view(2, 2, 3, 9)
    offset = torch.arange(9)[None] - torch.arange(9)[:, None]
    row = 1
    heads = []
    for head in range(2):
        scores = []
        for n, other in enumerate((0, 1, 2)):
            part = slice(8 * head, 8 * head + 8)
            score = q[part, row].t() @ k[part, other] / 8**0.5 + net.offset_bias[head, n][offset.clamp(-5, 5) + 5]
            for (where, sure), shape in (((x_guess[head, :, row]), (9, 1)), ((y_guess[head, :, other]), (1, 9))):
                score = score - 25 * F.softplus(sure).view(shape) * (offset / 5 - where.view(shape)).square()
            scores.append(score)
        heads.append(torch.cat(scores, 1).softmax(1))
    torch.testing.assert_close(match.probability[0, row].flatten(1), torch.stack(heads).mean(0), atol=1e-5, rtol=1e-4)
    expected = (match.probability[0, row].sum(1) * offset).sum(1)
    torch.testing.assert_close(match.offset[0, 0, row], expected, atol=1e-4, rtol=1e-4)


def test_row_attention_finds_the_same_a_few_rows_at_a_time(monkeypatch):
    torch.manual_seed(0)
    net = RowAttention(16, heads=2, reach=5).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, y = torch.randn(2, 16, 7, 9), torch.randn(2, 16, 7, 9)
    with torch.no_grad():
        found, match = net(x, y)
        monkeypatch.setattr("mdic_ros.models.side_alignment.MOST_SCORES", 2 * 2 * 2 * 9 * 27)  # two rows, then one
        in_parts, match_of_parts = net(x, y)
        in_training, match_in_training = net.train()(x, y)
    for other, where in ((in_parts, match_of_parts), (in_training, match_in_training)):
        torch.testing.assert_close(other, found)
        torch.testing.assert_close(where.offset, match.offset)
    assert match.probability is None and match_of_parts.probability is None
    assert match_in_training.probability.shape == (2, 7, 9, 3, 9)


def test_offsets_are_as_fine_in_half_precision():
    """Sums over columns up to a thousand are no business of bfloat16, whose steps are 4 there."""
    torch.manual_seed(0)
    net = RowAttention(16, heads=2, reach=5).eval()
    x, y = torch.randn(1, 16, 2, 600), torch.randn(1, 16, 2, 600)
    with torch.no_grad():
        exact = net(x, y)[1].offset
        with torch.autocast("cpu", torch.bfloat16):
            half = net(x, y)[1].offset
    assert half.dtype == torch.float32
    assert (half - exact).abs().mean() < 0.1


def test_pixels_are_taken_from_where_the_offset_points():
    image = torch.randn(1, 3, 8, 16)
    offset = torch.zeros(1, 2, 8, 16)
    torch.testing.assert_close(warp(image, offset), image, atol=1e-5, rtol=1e-5)
    offset[:, 0], offset[:, 1] = -3, 1
    torch.testing.assert_close(warp(image, offset)[..., :-1, 3:], image[..., 1:, :-3], atol=1e-5, rtol=1e-5)


def test_alignment_takes_any_size_that_the_padding_gives():
    net = SideAlignment(latent_channels=4, features=16, channels=16).eval()
    z, features, matches = net(torch.randn(1, 16, 4, 10), torch.randn(1, 16, 4, 10), torch.randn(1, 4, 8, 20))
    assert z.shape == (1, 4, 8, 20) and features.shape == (1, 16, 4, 10)
    assert len(matches) == 3 and all(match.offset.shape == (1, 2, 8, 20) for match in matches)
    # The last is corrected by what the features know, which is nothing before training.
    torch.testing.assert_close(matches[-1].offset, matches[-2].offset)


def test_mask_is_deterministic_at_inference_and_noisy_in_training():
    net = MaskGenerator(features=8, channels=8)
    x, y = torch.randn(1, 8, 4, 8), torch.randn(1, 8, 4, 8)
    net.eval()
    first = net(x, y)
    assert first.shape == (1, 1, 4, 8) and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, net(x, y))
    net.train()
    assert not torch.equal(net(x, y), net(x, y))


def test_a_closed_mask_shuts_the_side_image_out():
    torch.manual_seed(0)
    net = SideFusion(latent_channels=4, features=16, channels=16, condition=8).eval()
    x_hat, closed = torch.randn(1, 16, 8, 16), torch.zeros(1, 1, 8, 16)
    one = net(x_hat, torch.randn(1, 16, 8, 16), torch.randn(1, 4, 16, 32), closed)
    # G2's gate is F_m(0), a constant, times the detail of z_y: with no side image z_y is zero too.
    two = net(x_hat, torch.randn(1, 16, 8, 16), torch.randn(1, 4, 16, 32), closed)
    torch.testing.assert_close(one[0], two[0])


@pytest.mark.parametrize("size", [(4, 8), (8, 16), (24, 80), (9, 17)])
def test_cluster_fusion_covers_any_grid(size):
    net = ClusterFusion(16, heads=2, layers=1).eval()
    x = torch.randn(1, 16, *size)
    fused = net(x, torch.randn_like(x), torch.ones(1, 1, *size))
    assert fused.shape == x.shape
    assert ((fused - x).abs().sum(1) > 0).all(), "every position was in a tile"


def test_refiner_keeps_the_picture_without_a_side_image_whatever_the_side_is():
    torch.manual_seed(0)
    net = DetailRefiner(features=16, channels=16, detail=16).eval()
    for parameter in net.parameters():
        if not parameter.any():  # what starts at zero would hide what comes through it
            torch.nn.init.normal_(parameter, std=0.1)
    picture, x_c, mask = torch.randn(1, 3, 64, 128), torch.randn(1, 16, 4, 8), torch.ones(1, 1, 4, 8)
    absent, present = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    sides, y_hat = torch.randn(2, 1, 3, 64, 128), torch.randn(1, 16, 4, 8)
    offset = torch.randn(1, 2, 8, 16)
    for sharp in (absent, present):
        without = [net(picture, x_c, side, y_hat, offset, mask, absent, sharp)[0] for side in sides]
        torch.testing.assert_close(without[0], without[1])
        with_side = [net(picture, x_c, side, y_hat, offset, mask, present, sharp)[0] for side in sides]
        assert not torch.allclose(with_side[0], with_side[1])
        shut = [net(picture, x_c, side, y_hat, offset, torch.zeros_like(mask), present, sharp)[0] for side in sides]
        torch.testing.assert_close(shut[0], shut[1])
    sharp = [net(picture, x_c, sides[0], y_hat, offset, mask, present, wanted)[0] for wanted in (absent, present)]
    assert not torch.allclose(sharp[0], sharp[1]), "a sharp picture is another one"


def test_refiner_starts_from_the_offsets_it_is_given_and_warps_along_them():
    torch.manual_seed(0)
    net = DetailRefiner(features=16, channels=16, detail=16).eval()
    picture, side, features = torch.zeros(1, 3, 64, 128), torch.rand(1, 3, 64, 128), torch.zeros(1, 16, 4, 8)
    offset = torch.tensor([-0.5, 0.25])[None, :, None, None].expand(1, 2, 8, 16)  # 4 pixels left, 2 down
    one = torch.ones(1, 1, 1, 1)
    refined, matches = net(picture, features, side, features, offset, one.expand(1, 1, 4, 8), one, 0 * one)
    torch.testing.assert_close(matches[0].offset, (2 * offset[:, :, :1, :1]).expand(1, 2, 16, 32))
    torch.testing.assert_close(matches[-1].offset, (8 * offset[:, :, :1, :1]).expand(1, 2, 64, 128))
    # Before training the gate is open by sigmoid(-1) everywhere, a pixel is mostly the one that the offset points at
    # and a little of those left and right of it, and nothing else is added.
    share = torch.softmax(-3.0 * torch.arange(-3, 4).abs(), 0)
    assert share[3] > 0.9
    mixed = sum(share[3 + dx] * side[:, :, 2:, 3 + dx : 120 + 3 + dx] for dx in range(-3, 4))
    torch.testing.assert_close(refined[:, :, :-2, 7:-1], torch.sigmoid(torch.tensor(-1.0)) * mixed)


def test_borders_look_like_their_neighbours_when_offsets_are_corrected():
    """A side view that is the same everywhere is as right or wrong at the border as inside."""
    torch.manual_seed(0)
    net = OffsetUpdate(8).eval()
    seen = []
    net.body.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    fine, ones = torch.ones(1, 4, 8, 16), torch.ones(1, 1, 4, 8)
    net(torch.zeros(1, 8, 4, 8), torch.zeros(1, 2, 4, 8), 2 * fine, fine, ones)
    torch.testing.assert_close(seen[0], seen[0][:, :, 2:3, 4:5].expand_as(seen[0]))


def test_context_unet_starts_as_identity():
    x = torch.randn(1, 8, 16, 32)
    torch.testing.assert_close(ContextUNet(8, 16, 3).eval()(x), x)


def test_context_unet_sees_far_and_knows_its_row():
    torch.manual_seed(0)
    net = ContextUNet(8, 16, 3).eval()
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.GroupNorm):  # it alone would let every position see all others
                setattr(module, name, torch.nn.Identity())
    for layer in (net.up[0][0], net.mix[0].body[-1]):
        torch.nn.init.normal_(layer.weight, std=0.1)
    x = torch.randn(1, 8, 16, 32)
    other = x.clone()
    other[..., -1] += 1
    assert ((net(other) - net(x))[..., 0].abs() > 0).any(), "the left edge knows of the right one"
    knowing = net(x)
    with torch.no_grad():
        net.down[0][0].weight[:, 8:] = 0  # the rows and columns
    assert not torch.allclose(net(x), knowing)


def test_an_update_sees_whether_an_offset_is_right():
    """A network that may only look at the costs tells the right offset from its neighbours."""
    torch.manual_seed(0)
    net = OffsetUpdate(8, reach=3).eval()
    features = torch.randn(1, 4, 16, 64)
    moved = features.roll(-2, dims=3)  # what was at column c is at c - 2, one position to the left
    costs = []
    net.body.register_forward_pre_hook(lambda _, inputs: costs.append(inputs[0][0, 8:]))
    for offset in (-1.0, 0.0):
        at = torch.tensor([offset, 0.0])[None, :, None, None].expand(1, 2, 8, 32)
        net(torch.zeros(1, 8, 8, 32), at, features, moved, torch.ones(1, 1, 8, 32))
    # Four values of a position for each step; the step of no columns is the fourth of seven.
    right, wrong = (c[4 * 3 : 4 * 4, :, 4:-4].mean() for c in costs)
    assert right < 1e-6 < 0.5 < wrong
    assert costs[1][4 * 1 : 4 * 2, :, 4:-4].mean() < 1e-6, "two columns to the left is where it is"


def test_convex_upsampling_keeps_a_constant_and_starts_near_bilinear():
    net = ConvexUpsample(8, 4)
    x = torch.zeros(1, 8, 6, 10)
    constant = torch.full((1, 2, 6, 10), -1.5)
    torch.testing.assert_close(net(constant, x), torch.full((1, 2, 24, 40), -6.0))
    ramp = torch.arange(10.0).expand(1, 2, 6, 10)
    bilinear = F.interpolate(4 * ramp, scale_factor=4, mode="bilinear", align_corners=False)
    assert (net(ramp, x) - bilinear)[..., 8:-8].abs().max() < 0.3
    with torch.no_grad():
        net.weights.bias.zero_()
        net.weights.bias.view(9, 16)[3] = 100.0  # every pixel takes the position to its left
    torch.testing.assert_close(
        net(ramp, x)[..., 4:], (4 * ramp).repeat_interleave(4, 2).repeat_interleave(4, 3)[..., :-4]
    )
