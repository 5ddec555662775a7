"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

from mdic_ros.training.tiny import make_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of real modules in tiny sizes with random weights."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny", seed=0)


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second one with other weights, so another fingerprint."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "other", seed=1)
