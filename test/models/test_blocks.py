"""The blocks of MDIC: shapes, and that each depends on what it should and on nothing else."""

import pytest
import torch

from mdic_ros.models.hyper_align import HyperAlign, WindowAttention
from mdic_ros.models.mask_generator import MaskGenerator
from mdic_ros.models.quantizer import MultiScaleQuantizer
from mdic_ros.models.side_alignment import DetailRefiner, RowAttention, SideAlignment
from mdic_ros.models.side_fusion import ClusterFusion, SideFusion

GRIDS = ("1/4", "1/2", "3/4", "1")


def quantizer(**options) -> MultiScaleQuantizer:
    torch.manual_seed(0)
    return MultiScaleQuantizer(features=16, codebook_size=32, codebook_dim=8, **{"grids": GRIDS, **options}).eval()


def test_quantizer_indices_give_back_its_own_reconstruction_at_every_rate_point():
    vq = quantizer()
    partial, indices, commitment = vq(torch.randn(2, 16, 8, 12))
    assert [tuple(i.shape) for i in indices] == [(2, 2, 3), (2, 4, 6), (2, 6, 9), (2, 8, 12)]
    assert all(i.min() >= 0 and i.max() < 32 for i in indices)
    assert commitment.shape == ()
    for scale in range(4):
        torch.testing.assert_close(vq.dequantize(indices[: scale + 1], (8, 12)), partial[scale])


def test_each_grid_codes_what_the_coarser_ones_left_over():
    vq = quantizer()
    features = torch.nn.functional.interpolate(torch.randn(4, 16, 2, 3), size=(8, 12), mode="bilinear")
    partial, _, _ = vq(features)
    assert not torch.allclose(partial[0], partial[3])
    with pytest.raises(ValueError, match="no indices"):
        vq.dequantize([], (8, 12))


def test_a_single_grid_is_a_list_of_length_one():
    vq = quantizer(grids=("1",))
    partial, indices, _ = vq(torch.randn(1, 16, 8, 12))
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


def test_row_attention_looks_along_its_row_only():
    torch.manual_seed(0)
    net = RowAttention(16, heads=4, reach=3).eval()
    net.norm_x = net.norm_y = torch.nn.Identity()
    x, y = torch.randn(1, 16, 4, 12), torch.randn(1, 16, 4, 12)
    moved = y.clone()
    moved[:, :, 2, 7] += 3.0
    change = (net(x, y) - net(x, moved)).abs().sum(1)[0]
    assert change[[0, 1, 3]].max() == 0 and change[2].max() > 0


def test_alignment_takes_any_size():
    net = SideAlignment(latent_channels=4, features=16, channels=16).eval()
    z, features = net(torch.randn(1, 16, 4, 9), torch.randn(1, 16, 4, 9), torch.randn(1, 4, 8, 18))
    assert z.shape == (1, 4, 8, 18) and features.shape == (1, 16, 4, 9)


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
    net = DetailRefiner(features=16, channels=16).eval()
    torch.nn.init.normal_(net.out.weight, std=0.1)
    picture, x_c, mask = torch.randn(1, 3, 64, 128), torch.randn(1, 16, 4, 8), torch.ones(1, 1, 4, 8)
    absent, present = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    sides = torch.randn(2, 1, 3, 64, 128)
    without = [net(picture, x_c, side, mask, absent) for side in sides]
    torch.testing.assert_close(without[0], without[1])
    with_side = [net(picture, x_c, side, mask, present) for side in sides]
    assert not torch.allclose(with_side[0], with_side[1])
