"""The bundle that ships, on the drive that ships: the promises of the README hold for real pictures."""

import numpy as np
import pytest
from PIL import Image

from mdic_ros.codec import Bundle, Decoder, Encoder, SideView, default_bundle
from mdic_ros.codec.bundle import CLASSES
from mdic_ros.datasets import open_stereo
from mdic_ros.evaluation.metrics import psnr
from mdic_ros.resources import resource
from mdic_ros.stream.vertical_disparity import VerticalDisparityTracker


@pytest.fixture(scope="module")
def views() -> tuple[np.ndarray, np.ndarray]:
    with open_stereo(resource("sample/street")) as source:
        frame = source[33]
        halves = (Image.fromarray(image).resize((256, 128)) for image in (frame.left, frame.right))
        left, right = (np.asarray(image) for image in halves)
    return left, right


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.from_pretrained()


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder.from_pretrained()


def test_it_is_whole_small_and_the_one_its_card_speaks_of():
    bundle = Bundle()
    for component in bundle.components:
        bundle.check(component)
    assert bundle.components == tuple(CLASSES)
    assert sum(file.stat().st_size for file in default_bundle().rglob("*")) < 64e6
    assert bundle.fingerprint in (default_bundle() / "README.md").read_text()


def test_every_rate_point_is_better_than_the_one_below_and_the_side_image_helps(encoder, decoder, views):
    left, right = views
    streams = encoder.encode_all(left)
    assert len(streams[2]) <= 150 and sum(8 * len(s) / left[..., 0].size < 0.1 for s in streams) >= 3
    caption = decoder.caption(right)
    with_side = [psnr(decoder.decode(s, [SideView(right)], caption=caption).image, left) for s in streams]
    without = [psnr(decoder.decode(s, caption="").image, left) for s in streams]
    assert with_side == sorted(with_side) and with_side[2] > psnr(right, left) + 3
    assert all(a > b + 1 for a, b in zip(with_side, without, strict=True))


def test_the_right_camera_is_coded_as_well_as_the_left_one(encoder, decoder, views):
    left, right = views
    for view, coded, side in (("left", left, right), ("right", right, left)):
        data = encoder.encode(coded, rate_point=2, view=view)
        assert psnr(decoder.decode(data, [SideView(side)]).image, coded) > psnr(side, coded) + 3, view
    wrong = decoder.decode(encoder.encode(right, rate_point=2, view="left"), [SideView(left)]).image
    assert psnr(wrong, right) < psnr(decoder.decode(data, [SideView(left)]).image, right) - 2  # so it has to be told


def test_cameras_that_are_not_quite_rectified_are_found_out_and_corrected(encoder, decoder):
    with open_stereo(resource("sample/street")) as source:
        frames = [(source[index].left, source[index].right) for index in range(0, 40, 4)]
    views = [[np.asarray(Image.fromarray(image).resize((256, 128))) for image in frame] for frame in frames]
    right, lower = VerticalDisparityTracker(decoder), VerticalDisparityTracker(decoder)
    for left, side in views:
        packet = decoder.read(encoder.encode(left, rate_point=2))
        assert right.row_offset(packet, side) == lower.row_offset(packet, np.roll(side, 2, axis=0)) == 0  # not yet
    assert abs(right.likely) < 0.3 and abs(lower.likely - 2) < 0.3
    found = lower.likely
    left, side = views[0]  # the other camera is coded now: what was lower is higher
    turned = decoder.read(encoder.encode(np.roll(side, 2, axis=0), rate_point=2, view="right"))
    assert lower.row_offset(turned, left) == 0
    assert lower.likely == 0
    left, side = views[5]
    side, packet = np.roll(side, 2, axis=0), decoder.read(encoder.encode(left))
    as_it_is, corrected = (psnr(decoder.decode(packet, [SideView(side, rows)]).image, left) for rows in (0.0, found))
    assert corrected > as_it_is + 1
    with pytest.raises(ValueError, match="row_offset must be -64 to 64 rows, not nan"):
        decoder.decode(packet, [SideView(side, float("nan"))])


def test_a_caption_of_ones_own_changes_the_picture(encoder, decoder, views):
    left, right = views
    data = encoder.encode(left, rate_point=2)
    caption = decoder.caption(right)
    assert caption and caption == decoder.caption(right)
    texts = (caption, "a snowy field at night")
    one, other = (decoder.decode(data, [SideView(right)], caption=text).image for text in texts)
    assert not np.array_equal(one, other)
