"""What is said when an extra's libraries are missing."""

from __future__ import annotations

import pytest

from mdic_ros import extras
from mdic_ros.extras import EXTRAS, MissingExtraError, need


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_extra_is_installed_from_the_checkout(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as error:
        need(extra, "or do without")
    text = str(error.value)
    assert f"pip install '.[{extra}]' in the checkout" in text and text.endswith("; or do without")
    with_torch = "torch" in EXTRAS[extra][1]
    assert ("PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu" in text) == with_torch


def test_what_is_there_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "cv2" else object())
    need("workstation")
    with pytest.raises(MissingExtraError, match=r"not installed \(cv2\)") as error:
        need("train")
    assert "whl/cpu" not in str(error.value)
