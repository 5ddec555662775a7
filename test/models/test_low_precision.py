"""Layers in bfloat16 inside a float32 network."""

import copy

import pytest
import torch
from torch import nn

from mdic_ros.models import low_precision
from mdic_ros.models.low_precision import use_bfloat16


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, stride=2),
        nn.GroupNorm(4, 16),
        nn.Sequential(nn.SiLU(), nn.Conv2d(16, 8, 1, bias=False), nn.Conv2d(8, 8, (3, 5), padding=(1, 2), groups=2)),
        nn.Flatten(2),
        nn.Linear(32, 5),
    ).eval()


@pytest.mark.parametrize("packs", [True, False])
def test_products_are_rounded_and_the_rest_is_not(packs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if packs and not low_precision._can_pack():
        pytest.skip("this PyTorch or this processor cannot")
    monkeypatch.setattr(low_precision, "_can_pack", lambda: packs)
    exact = network()
    half = copy.deepcopy(exact)
    use_bfloat16(half)
    with torch.inference_mode():
        for x in torch.randn(3, 2, 3, 8, 16).split(1):  # and back to a size that was there before
            for image in (x[0], x[0, :1], x[0]):
                one, two = exact(image), half(image)
                assert two.dtype == torch.float32 and not torch.equal(one, two)
                torch.testing.assert_close(two, one, atol=0.03, rtol=0.03)
    kinds = {type(module) for module in half.modules()}
    assert nn.GroupNorm in kinds and not kinds & {nn.Conv2d, nn.Linear}


def test_both_ways_round_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    if not low_precision._can_pack():
        pytest.skip("this PyTorch or this processor cannot")
    packed, plain = network(), network()
    use_bfloat16(packed)
    monkeypatch.setattr(low_precision, "_can_pack", lambda: False)
    use_bfloat16(plain)
    with torch.inference_mode():
        x = torch.randn(2, 3, 8, 16)
        torch.testing.assert_close(packed(x), plain(x), atol=0.01, rtol=0.01)


def test_layers_that_are_kept_stay() -> None:
    exact = network()
    kept = exact[2][1]
    use_bfloat16(exact, keep=("4", "1"))
    assert exact[2][1] is kept and isinstance(exact[4], nn.Linear) and not isinstance(exact[0], nn.Conv2d)


def test_paddings_that_are_no_zeros_are_refused() -> None:
    for layer in (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), nn.Conv2d(2, 2, 3, padding="same")):
        with pytest.raises(ValueError, match="padded by numbers of zeros"):
            use_bfloat16(nn.Sequential(layer))
