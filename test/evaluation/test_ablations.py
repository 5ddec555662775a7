"""Blocks that are taken out of a decoder for a while."""

from pathlib import Path

import numpy as np
import pytest

from mdic_ros.codec import Decoder, Encoder, SideView
from mdic_ros.evaluation.ablations import REPLACED, without


@pytest.fixture(scope="module")
def decoder(tiny_bundle: Path) -> Decoder:
    return Decoder.from_pretrained(tiny_bundle)


def test_each_block_changes_the_picture_and_comes_back(
    decoder: Decoder, tiny_bundle: Path, photographs: list[np.ndarray]
) -> None:
    packet, view = Encoder.from_pretrained(tiny_bundle).encode(photographs[0]), SideView(photographs[1])

    def picture() -> np.ndarray:
        return decoder.decode(packet, [view], caption="").image

    whole, seen = picture(), []
    for block in REPLACED:
        with without(decoder.mdic, block):
            seen.append(picture())
        np.testing.assert_array_equal(picture(), whole, err_msg=block)
    with without(decoder.mdic, *REPLACED):
        seen.append(picture())
    pictures = [whole, *seen]
    for number, one in enumerate(pictures):
        assert not any(np.array_equal(one, other) for other in pictures[:number])


def test_an_open_mask_shares_all_of_a_side_image_that_is_there(
    decoder: Decoder, tiny_bundle: Path, photographs: list[np.ndarray]
) -> None:
    packet = Encoder.from_pretrained(tiny_bundle).encode(photographs[0])
    with without(decoder.mdic, "mask"):
        assert (decoder.decode(packet, [SideView(photographs[1])]).mask == 255).all()
        assert (decoder.decode(packet).mask == 0).all()


def test_blocks_come_back_after_an_error(decoder: Decoder) -> None:
    before = list(decoder.mdic.modules())
    with pytest.raises(ZeroDivisionError), without(decoder.mdic, *REPLACED):
        1 / 0  # noqa: B018
    with pytest.raises(KeyError), without(decoder.mdic, "g1", "g3"):
        pass
    assert list(decoder.mdic.modules()) == before
