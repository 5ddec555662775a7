"""Encoder and Decoder: image to bytes to picture."""

import hashlib
import shutil

import numpy as np
import pytest
import torch

from mdic_ros.codec import BitstreamError, Decoder, Encoder, SideView, inspect
from mdic_ros.codec.bundle import write_index
from mdic_ros.errors import ImageError
from mdic_ros.training.tiny import make_bundle


@pytest.fixture(scope="module")
def encoder(tiny_bundle) -> Encoder:
    return Encoder.from_pretrained(tiny_bundle)


@pytest.fixture(scope="module")
def decoder(tiny_bundle) -> Decoder:
    return Decoder.from_pretrained(tiny_bundle)


@pytest.mark.parametrize("size", [(64, 128), (128, 256), (65, 129), (101, 333), (370, 740)])
def test_any_size_comes_back_at_its_size(scene, encoder, decoder, size):
    image, side = scene(*size), scene(*size, seed=1)
    streams = encoder.encode_all(image)
    assert len(streams) == encoder.rate_points == 5
    assert [len(s) for s in streams] == sorted(len(s) for s in streams)
    for rate_point in (0, 4):
        out = decoder.decode(streams[rate_point], [SideView(side)], caption="a street")
        assert out.image.shape == image.shape and out.image.dtype == np.uint8
        assert out.mask.shape == size and out.mask.dtype == np.uint8
        assert out.rate_point == rate_point and not out.cut
        assert inspect(streams[rate_point]).height == size[0]


@pytest.mark.parametrize("size", [(128, 256), (101, 333)])
def test_the_right_camera_is_coded_in_a_mirror(scene, encoder, decoder, size):
    """Whatever the model makes of a pair, it makes of the pair with its views exchanged: the same, mirrored."""
    left, right = scene(*size), scene(*size, seed=1)
    plain, other = encoder.encode_all(left), encoder.encode_all(left[:, ::-1], view="right")
    assert [len(stream) for stream in plain] == pytest.approx([len(stream) for stream in other], abs=1)
    for point, steps in ((0, 1), (4, 2)):
        assert (inspect(plain[point]).view, inspect(other[point]).view) == ("left", "right")
        one = decoder.decode(plain[point], [SideView(right)], caption="a street", steps=steps)
        two = decoder.decode(other[point], [SideView(right[:, ::-1])], caption="a street", steps=steps)
        assert np.array_equal(one.image, two.image[:, ::-1]) and np.array_equal(one.mask, two.mask[:, ::-1])
    turned = bytearray(plain[4])
    turned[2] ^= 0x80  # the checks hold for the header, too
    with pytest.raises(BitstreamError, match="damaged"):
        decoder.decode(bytes(turned), [SideView(right)])
    with pytest.raises(ValueError, match="left or right"):
        encoder.encode(left, view="both")


def test_same_input_same_picture(scene, encoder, decoder, tiny_bundle):
    image, side = scene(128, 256), scene(128, 256, seed=1)
    data = encoder.encode(image)
    assert data == encoder.encode(image)
    one = decoder.decode(data, [SideView(side)], steps=2, seed=3)
    two = Decoder.from_pretrained(tiny_bundle).decode(data, [SideView(side)], steps=2, seed=3)
    assert np.array_equal(one.image, two.image) and np.array_equal(one.mask, two.mask)
    assert one.caption == two.caption


def test_a_frame_that_fails_leaves_nothing_to_the_next(scene, encoder, decoder, tiny_bundle, monkeypatch):
    image, side = scene(128, 256), scene(128, 256, seed=1)
    data = encoder.encode(image)
    expected = Decoder.from_pretrained(tiny_bundle).decode(data, [SideView(side)]).image
    damaged = data[:5] + bytes([data[5] ^ 1]) + data[6:]
    with pytest.raises(BitstreamError):
        decoder.decode(damaged, [SideView(side)])
    np.testing.assert_array_equal(decoder.decode(data, [SideView(side)]).image, expected)
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "caption", lambda side: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            decoder.decode(data, [SideView(side)])
    np.testing.assert_array_equal(decoder.decode(data, [SideView(side)]).image, expected)


def test_the_picture_depends_on_everything_it_should(scene, encoder, decoder):
    image, side = scene(128, 256), scene(128, 256, seed=1)
    data = encoder.encode(image)
    base = decoder.decode(data, [SideView(side)], caption="a street").image
    others = {
        "bytes": decoder.decode(encoder.encode(scene(128, 256, seed=2)), [SideView(side)], caption="a street"),
        "rate point": decoder.decode(encoder.encode(image, rate_point=1), [SideView(side)], caption="a street"),
        "side image": decoder.decode(data, [SideView(scene(128, 256, seed=3))], caption="a street"),
        "no side image": decoder.decode(data, caption="a street"),
        "caption": decoder.decode(data, [SideView(side)], caption="a red car"),
        "seed": decoder.decode(data, [SideView(side)], caption="a street", seed=1),
        "steps": decoder.decode(data, [SideView(side)], caption="a street", steps=3),
    }
    for what, other in others.items():
        assert not np.array_equal(base, other.image), what


def test_without_a_side_image_there_is_no_mask_and_no_caption(scene, encoder, decoder):
    out = decoder.decode(encoder.encode(scene(64, 128)))
    assert out.caption == "" and not out.mask.any()
    assert set(out.timings) == {"entropy", "caption", "side", "denoise", "pixels", "total"}


def test_a_cut_packet_is_a_coarser_picture(scene, encoder, decoder):
    image, side = scene(128, 256), scene(128, 256, seed=1)
    streams = encoder.encode_all(image)
    for rate_point in range(4):
        cut = decoder.decode(streams[4][: len(streams[rate_point]) + 1], [SideView(side)], caption="")
        assert cut.cut and cut.rate_point == rate_point
        whole = decoder.decode(streams[rate_point], [SideView(side)], caption="")
        assert np.array_equal(cut.image, whole.image)


def test_bad_arguments_say_what_is_allowed(scene, encoder, decoder):
    image = scene(128, 256)
    data = encoder.encode(image)
    with pytest.raises(ImageError, match="64x128, the coded image 128x256"):
        decoder.decode(data, [SideView(scene(64, 128))])
    with pytest.raises(ValueError, match="steps"):
        decoder.decode(data, steps=0)


def test_a_packet_of_another_model_is_refused(scene, encoder, other_bundle):
    with pytest.raises(BitstreamError):
        Decoder.from_pretrained(other_bundle).decode(encoder.encode(scene(64, 128)))


def test_odd_torch_settings_do_not_change_the_tokens_that_come_out(scene, encoder, decoder):
    data = encoder.encode(scene(128, 256))
    digest = hashlib.sha256(decoder.decode(data, caption="").image.tobytes()).hexdigest()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        again = decoder.decode(data, caption="")
    finally:
        torch.set_num_threads(threads)
    assert again.rate_point == 4
    assert hashlib.sha256(decoder.decode(data, caption="").image.tobytes()).hexdigest() == digest


def test_a_bundle_in_the_shape_of_stable_diffusion(scene, tmp_path):
    """Same code, other configurations: four levels, four latent channels, no pixel blocks, as SD 2.1 has them."""
    four = ("DownEncoderBlock2D",) * 4
    bundle = make_bundle(
        tmp_path / "sd",
        vae_config={
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 4,
            "block_out_channels": (8, 8, 8, 8),
            "down_block_types": four,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 2,
            "norm_num_groups": 4,
            "scaling_factor": 0.18215,
        },
        unet_config={
            "out_channels": 4,
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            "block_out_channels": (8, 8, 16, 16),
            "layers_per_block": 2,
            "cross_attention_dim": 32,
            "attention_head_dim": (1, 1, 2, 2),
            "norm_num_groups": 4,
            "use_linear_projection": True,
        },
    )
    image, side = scene(100, 200), scene(100, 200, seed=1)
    encoder, decoder = Encoder.from_pretrained(bundle), Decoder.from_pretrained(bundle)
    data = encoder.encode(image)
    one, ten = decoder.decode(data, [SideView(side)]), decoder.decode(data, [SideView(side)], steps=10)
    assert one.image.shape == image.shape and not np.array_equal(one.image, ten.image)


def test_guidance_of_the_bundle_reaches_the_denoiser(scene, tiny_bundle, encoder, decoder, tmp_path):
    guided = shutil.copytree(tiny_bundle, tmp_path / "guided")
    write_index(guided, decoder.model_id, guidance_scale=3.0)
    image = scene(64, 128)
    data = encoder.encode(image)
    plain = decoder.decode(data, [SideView(image)], caption="a red car")
    strong = Decoder.from_pretrained(guided).decode(data, [SideView(image)], caption="a red car")
    assert not np.array_equal(plain.image, strong.image)
