"""Decoder: packets and side images to pictures."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mdic_ros.codec import BitstreamError, Bundle, Decoder, Encoder, ParsedPacket, SideView, inspect
from mdic_ros.codec.bitstream import feature_grid, split
from mdic_ros.codec.bundle import write_index
from mdic_ros.codec.entropy_coding import EntropyCoder
from mdic_ros.codec.images import to_pixels
from mdic_ros.codec.limits import MAX_THREADS
from mdic_ros.codec.prior import load_prior
from mdic_ros.datasets import open_stereo
from mdic_ros.errors import ImageError, MdicError
from mdic_ros.evaluation.metrics import psnr
from mdic_ros.resources import resource
from mdic_ros.training.tiny import make_bundle


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


def test_a_packet_is_entropy_decoded_once_whatever_looks_at_it(scene, encoder, decoder, monkeypatch):
    image, view = scene(128, 256), SideView(scene(128, 256, seed=1))
    data = encoder.encode(image, rate_point=3)
    expected = decoder.decode(data[:-1], [view], caption="")
    decoded, decode = [], decoder._coder.decode
    monkeypatch.setattr(decoder._coder, "decode", lambda *args: decoded.append(args) or decode(*args))
    packet = decoder.read(data[:-1])
    assert (packet.info, packet.size) == (inspect(data), len(data) - 1)
    assert (packet.rate_point, packet.cut) == (2, True) == (len(packet.tokens) - 1, expected.cut)
    assert [tokens.dtype for tokens in packet.tokens] == 3 * [np.int64]
    assert [tokens.shape for tokens in packet.tokens] == decoder._coder.prior.grid_shapes(8, 16)[:3]
    decoder.measure_rows(packet, view)
    found = decoder.decode(packet, [view], caption="")
    assert len(decoded) == 1
    np.testing.assert_array_equal(found.image, expected.image)
    assert found.timings["entropy"] == packet.entropy_ms > 0
    parts = {name: time for name, time in found.timings.items() if name != "total"}
    assert found.timings["total"] == pytest.approx(sum(parts.values()))


def test_bad_arguments_say_what_is_allowed(scene, encoder, decoder, tiny_bundle):
    image = scene(128, 256)
    packet, view = decoder.read(encoder.encode(image)), SideView(image)
    small, flat, far = (SideView(scene(64, 128)), SideView(image[..., 0]), SideView(image, -64.5))
    for use in (lambda view: decoder.decode(packet, [view]), lambda view: decoder.measure_rows(packet, view)):
        with pytest.raises(ImageError, match="64x128, the coded image 128x256"):
            use(small)
        with pytest.raises(ImageError, match="H x W x 3 uint8 RGB"):
            use(flat)
        with pytest.raises(ValueError, match=r"row_offset must be -64 to 64 rows, not -64\.5"):
            use(far)
    with pytest.raises(ValueError, match="2 views"):
        decoder.decode(packet, [view, view])
    for steps in (0, 101):
        with pytest.raises(ValueError, match="steps must be 1 to 100,"):
            decoder.decode(packet, steps=steps)
    for seed in (-1, 2**31):
        with pytest.raises(ValueError, match="seed must be 0 to 2147483647"):
            decoder.decode(packet, seed=seed)
    with pytest.raises(ValueError, match="auto, float32, bfloat16, not 'half'"):
        Decoder.from_pretrained(tiny_bundle, dtype="half")


@pytest.mark.parametrize("view", ["left", "right"])
def test_a_side_image_is_prepared_as_the_encoder_prepares_its_own(scene, encoder, decoder, view):
    image = scene(65, 129)
    info = inspect(encoder.encode(image, view=view))
    expected = to_pixels(image, mirror=view == "right")
    np.testing.assert_array_equal(decoder._pixels(SideView(image), info).numpy(), expected)
    lower = decoder._pixels(SideView(image, 2.0), info).numpy()
    np.testing.assert_allclose(lower[:, :, :63, :129], expected[:, :, 2:65, :129], atol=1e-4)
    np.testing.assert_allclose(lower[:, :, 63:], np.repeat(expected[:, :, 64:65], 65, 2), atol=1e-4)


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


@pytest.mark.parametrize("threads", [-1, MAX_THREADS + 1, 100_000])
def test_a_number_of_threads_out_of_range_is_refused(tiny_bundle, threads):
    before = torch.get_num_threads()
    with pytest.raises(MdicError, match=f"{threads} threads cannot be had: take 1 to 256"):
        Decoder.from_pretrained(tiny_bundle, threads=threads)
    assert torch.get_num_threads() == before


def test_threads_are_pytorchs(tiny_bundle):
    threads = torch.get_num_threads()
    try:
        Decoder.from_pretrained(tiny_bundle, threads=0)
        assert torch.get_num_threads() == threads
        Decoder.from_pretrained(tiny_bundle, threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_pictures_of_the_shipped_bundle_are_those_of_0_1_0():
    """One step above, two steps below. Processors round in their own ways, so the last bits may differ."""
    folder = Path(__file__).parent
    old, pictures = json.loads((folder / "packets_0_1_0.json").read_text()), folder / "pictures_0_1_0.png"
    fingerprint, data = bytes.fromhex(old["fingerprint"]), bytes.fromhex(old["packets"][4])
    prior = load_prior(Bundle().check("entropy_model"))
    info = inspect(data)
    header, payload = split(data, info, fingerprint, prior.scales)
    grid = feature_grid(info.height, info.width)
    tokens = EntropyCoder(prior, fingerprint).decode(payload, grid, info.rate_point + 1, header)
    with open_stereo(resource("sample/street")) as source:
        side = np.asarray(Image.fromarray(source[0].right).resize((256, 128)))
    packet, views = ParsedPacket(info, tokens, len(data), 0.0), [SideView(side)]
    expected = np.split(np.asarray(Image.open(pictures)), 2)
    decoders = {dtype: Decoder.from_pretrained(dtype=dtype) for dtype in ("float32", "bfloat16")}
    for wanted, options in zip(expected, ({"steps": 1}, {"steps": 2, "seed": 1}), strict=True):
        for dtype, least in (("float32", 60), ("bfloat16", 50)):
            picture = decoders[dtype].decode(packet, views, caption="a street", **options).image
            assert psnr(picture, wanted) > least, (dtype, options)


def test_bfloat16_changes_the_products_alone(scene, encoder, tiny_bundle):
    image, view = scene(101, 333), SideView(scene(101, 333, seed=1), 1.5)
    data, other = encoder.encode(image), encoder.encode(scene(64, 128))
    exact, half = (Decoder.from_pretrained(tiny_bundle, dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert (exact.dtype, half.dtype) == ("float32", "bfloat16")
    packets = exact.read(data), half.read(data)
    assert all(np.array_equal(*pair) for pair in zip(*(packet.tokens for packet in packets), strict=True))
    one, two = (decoder.decode(data, [view], caption="a street", steps=2) for decoder in (exact, half))
    assert not np.array_equal(one.image, two.image)
    assert psnr(one.image, two.image) > 35 and np.abs(one.mask.astype(int) - two.mask).max() < 16
    half.decode(other)  # of another size
    again = half.decode(packets[1], [view], caption="a street", steps=2)
    np.testing.assert_array_equal(again.image, two.image)
