"""mdic eval: protocol, metrics, and a whole run on real files and real bytes."""

import math

import numpy as np
import pytest
from PIL import Image

from mdic_ros.codec import Decoder, Encoder
from mdic_ros.evaluation.evaluate import evaluate, markdown, run, summarise
from mdic_ros.evaluation.metrics import decibel, ms_ssim, psnr
from mdic_ros.evaluation.protocol import view


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_psnr_of_a_known_error():
    image = np.full((16, 16, 3), 100, np.uint8)
    assert psnr(image, image) == math.inf
    assert psnr(image, image + 5) == pytest.approx(10 * math.log10(255**2 / 25))


def test_ms_ssim_orders_damage():
    image = np.asarray(Image.fromarray(noise(16, 32, 0)).resize((256, 128)))
    slightly = np.clip(image.astype(int) + noise(128, 256, 1) // 32, 0, 255).astype(np.uint8)
    heavily = np.clip(image.astype(int) + noise(128, 256, 1) // 2, 0, 255).astype(np.uint8)
    assert ms_ssim(image, image) == pytest.approx(1, abs=1e-5)
    assert 1 > ms_ssim(slightly, image) > ms_ssim(heavily, image)
    assert decibel(0.9) == pytest.approx(10) and decibel(1.0) == math.inf


def test_kitti_protocol_is_a_centre_crop():
    image = np.zeros((375, 1242, 3), np.uint8)
    image[2:372, 251:991] = 200
    seen = view(image, "kitti")
    assert seen.shape == (128, 256, 3) and (seen == 200).all()
    assert view(image, "native") is image
    with pytest.raises(ValueError, match="370x740"):
        view(image[:300], "kitti")


def test_rows_hold_what_was_coded(tiny_bundle):
    encoder, decoder = Encoder.from_pretrained(tiny_bundle), Decoder.from_pretrained(tiny_bundle)
    pairs = [(drive, "0", noise(128, 256, n), noise(128, 256, n + 9)) for n, drive in enumerate("ab")]
    rows = evaluate(encoder, decoder, pairs, steps=1)
    assert len(rows) == 2 * 5 * 3
    streams = encoder.encode_all(pairs[1][2])
    for row in rows[15:]:
        assert row.drive == "b" and row.bytes == len(streams[row.rate_point])
        assert row.bpp == 8 * row.bytes / (128 * 256)
    own = next(r for r in rows[15:] if r.side == "right" and r.rate_point == 2)
    assert own.psnr == psnr(decoder.decode(streams[2], pairs[1][3]).image, pairs[1][2])
    table = summarise(rows)
    assert {r["side"] for r in table} == {"right", "none", "foreign"} and all(r["images"] == 2 for r in table)


def test_a_run_on_folders_reports_what_it_takes_to_repeat_it(tiny_bundle, tmp_path):
    for drive in ("one", "two"):
        for number, side in enumerate(("left", "right")):
            (tmp_path / drive / side).mkdir(parents=True)
            Image.fromarray(noise(370, 740, number)).save(tmp_path / drive / side / "0.png")
    report = run(tmp_path, tiny_bundle, "kitti", steps=1)
    assert report["images"] == 2 and report["drives"] == ["one", "two"]
    assert len(report["fingerprint"]) == 64 and len(report["rows"]) == 30
    assert "| right | 4 |" in markdown(report)


def test_no_recording_is_said(tiny_bundle, tmp_path):
    with pytest.raises((FileNotFoundError, ValueError)):
        run(tmp_path / "nothing", tiny_bundle, "kitti", steps=1)
