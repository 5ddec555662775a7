"""Loading components quietly."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffusers.models import modeling_utils

from mdic_ros.codec import Bundle, components


def test_no_warning_where_accelerate_is_not_installed(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (modeling_utils, components):
        monkeypatch.setattr(module, "is_accelerate_available", lambda: False)
    warnings: list[str] = []
    monkeypatch.setattr(modeling_utils.logger, "warning", warnings.append)
    part = components.load(Bundle(tiny_bundle), "unet")
    assert warnings == [] and not part.training
