"""The encoder's networks as ONNX: what is in the file, and how it gets into a bundle."""

import contextlib
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mdic_ros.codec import Bundle, BundleError, Encoder, onnx_export
from mdic_ros.codec.bundle import WORKSTATION, write_index
from mdic_ros.codec.onnx_export import export_encoder


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


def test_it_is_written_anew_as_it_was(tiny_bundle, copy, scene):
    """Also for a bundle of version 0.1.0, which has none, and names modules of that version."""
    shutil.rmtree(copy / "encoder")
    fingerprint = write_index(copy, "old")
    index = json.loads((copy / "model_index.json").read_text())
    index["quantizer"][0] = "mdic_ros.models.quantizer"
    (copy / "model_index.json").write_text(json.dumps(index))
    assert export_encoder(Bundle(copy)) == Bundle(copy).fingerprint == fingerprint == Bundle(tiny_bundle).fingerprint
    for name in ("model.onnx", "config.json"):
        assert (copy / "encoder" / name).read_bytes() == (tiny_bundle / "encoder" / name).read_bytes()
    assert Encoder.from_pretrained(copy).encode(scene(64, 128))
    assert Bundle(copy).model_id == "old"
    (copy / ".encoder.partial").mkdir()  # of a run that was interrupted
    assert export_encoder(Bundle(copy)) == fingerprint
    assert not (copy / ".encoder.partial").exists()


def test_an_interrupted_export_leaves_the_old_encoder_or_the_new_or_says_how_to_make_it(
    copy, scene, monkeypatch, tmp_path
):
    """Interrupted before each of its calls that change the bundle, in turn."""
    model = onnx.load(copy / "encoder" / "model.onnx")
    model.producer_name = "another export"
    monkeypatch.setattr(onnx_export, "_export", lambda graph: model)  # the real one takes seconds, and changes no file
    old, new = (copy / "encoder" / "model.onnx").read_bytes(), model.SerializeToString(deterministic=True)
    fingerprint, image, outcomes = Bundle(copy).fingerprint, scene(64, 128), []
    packet = Encoder.from_pretrained(copy).encode(image)
    for number in itertools.count():
        bundle = shutil.copytree(copy, tmp_path / str(number))
        with monkeypatch.context() as patch:
            left = iter(range(number))

            def interrupted(call, left=left):
                def instead(*args, **options):
                    if next(left, None) is None:
                        raise KeyboardInterrupt
                    return call(*args, **options)

                return instead

            for name in ("mkdir", "write_bytes", "write_text", "rename", "replace"):
                patch.setattr(Path, name, interrupted(getattr(Path, name)))
            patch.setattr(shutil, "rmtree", interrupted(shutil.rmtree))
            with contextlib.suppress(KeyboardInterrupt):
                export_encoder(Bundle(bundle))
                break
        found = Bundle(bundle)
        assert found.fingerprint == fingerprint
        for component in WORKSTATION:
            found.check(component)
        try:
            assert Encoder.from_pretrained(bundle).encode(image) == packet
            outcomes.append((found.path / "encoder" / "model.onnx").read_bytes())
        except BundleError as error:
            assert "make its encoder again with `mdic export`" in str(error)
            outcomes.append(b"")
        export_encoder(Bundle(bundle))
        assert Encoder.from_pretrained(bundle).encode(image) == packet
        assert (bundle / "encoder" / "model.onnx").read_bytes() == new
        assert not list(bundle.glob(".*"))
    assert [value for value, _ in itertools.groupby(outcomes)] == [old, b"", new]
    assert outcomes.count(b"") == 3  # the folder is away, the new index is written, the new index is there


def test_a_damaged_bundle_does_not_become_a_valid_one(copy):
    file = copy / "unet" / "config.json"
    file.write_text(file.read_text() + " ")
    with pytest.raises(BundleError, match=r"config\.json is not the file"):
        export_encoder(Bundle(copy))
    shutil.rmtree(copy / "unet")
    with pytest.raises(BundleError, match="missing"):
        export_encoder(Bundle(copy))


def test_the_file_has_the_weights_in_half_precision_and_nothing_of_the_machine(tiny_bundle):
    file = tiny_bundle / "encoder" / "model.onnx"
    model = onnx.load(file)
    weights = [numpy_helper.to_array(weight) for weight in model.graph.initializer]
    assert all(w.dtype == np.float16 for w in weights if w.size > 5000 and w.dtype.kind == "f")
    content = file.read_bytes()
    assert b"mdic_ros" not in content and b"site-packages" not in content and b".py" not in content
    assert not model.metadata_props and not model.functions
    (opset,) = model.opset_import
    assert opset.version == 18 and not opset.domain
    (pixels,) = model.graph.input
    assert [d.dim_value for d in pixels.type.tensor_type.shape.dim[:2]] == [1, 3]
    assert all(d.dim_param for d in pixels.type.tensor_type.shape.dim[2:])
