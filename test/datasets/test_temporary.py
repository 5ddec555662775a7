"""What is left of a temporary folder when a process ends, tried on real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mdic_ros.datasets.temporary import temporary_folder

HEAD = (
    "import os, signal, sys, time\nfrom pathlib import Path\nfrom mdic_ros.datasets.temporary import temporary_folder\n"
)
WAIT = """
with temporary_folder(Path(sys.argv[1])) as folder:
    (folder / "inner").mkdir()
    (folder / "inner" / "file").write_bytes(bytes(1000))
    print("ready", flush=True)
    time.sleep(60)
"""


def ended_by(number: signal.Signals, code: str, folder: Path) -> int:
    """Exit status of a process that gets a signal as soon as it says something."""
    command = [sys.executable, "-c", HEAD + code, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        assert len(list(folder.iterdir())) == 1
        process.send_signal(number)
        return process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_nothing_behind_and_end_the_process_as_ever(tmp_path: Path, number: signal.Signals) -> None:
    assert ended_by(number, WAIT, tmp_path) == -number
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c(tmp_path: Path) -> None:
    code = "signal.signal(signal.SIGINT, signal.default_int_handler)\n" + WAIT
    assert ended_by(signal.SIGINT, code, tmp_path) != 0
    assert list(tmp_path.iterdir()) == []


def test_a_handler_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    code = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n" + WAIT
    assert ended_by(signal.SIGTERM, code, tmp_path) == 7
    assert list(tmp_path.iterdir()) == []  # sys.exit leaves the with block


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    code = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + WAIT.replace("60", "0.2") + "sys.exit(3)\n"
    assert ended_by(signal.SIGHUP, code, tmp_path) == 3


def test_the_end_of_a_forked_process_takes_nothing_from_its_parent(tmp_path: Path) -> None:
    code = """
with temporary_folder(Path(sys.argv[1])) as folder:
    ready, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(say, b"x")
        time.sleep(30)
        os._exit(9)
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
    assert folder.is_dir()
"""
    code = HEAD + code
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == 0


def test_handlers_go_with_the_last_folder(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with temporary_folder(tmp_path) as one:
        with temporary_folder(tmp_path) as other:
            assert one != other
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert list(tmp_path.iterdir()) == [one]
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(tmp_path.iterdir()) == []
