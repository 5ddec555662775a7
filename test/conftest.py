"""Fixtures shared by all tests."""

from importlib.util import find_spec
from pathlib import Path

import pytest

# test/base is for an environment with the base install alone, see tools/base_env.py.
collect_ignore = ["base"] if find_spec("torch") else []


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of real modules in tiny sizes with random weights."""
    from mdic_ros.training.tiny import make_bundle

    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny", seed=0)


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second one with other weights, so another fingerprint."""
    from mdic_ros.training.tiny import make_bundle

    return make_bundle(tmp_path_factory.mktemp("bundles") / "other", seed=1)
