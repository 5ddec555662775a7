"""ARM64 codes the same bytes: a small run of tools/arm64_check.py, where an ARM64 user space can be had."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT.parent / "shared" / "tools" / "arm64"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not TOOL.exists(), reason="needs an ARM64 user space, which is not in the repository")
def test_packets_of_arm64_decode_here_and_the_other_way_round() -> None:
    command = [sys.executable, ROOT / "tools" / "arm64_check.py", "--tool", TOOL, "--frames", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 frames, 20 packets each way" in done.stdout
    assert done.stdout.count(": 0 mismatches") == 2
