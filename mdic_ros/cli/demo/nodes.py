"""The nodes as processes of their own, in a ROS domain that nothing else on this machine uses."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mdic_ros.cli.demo.errors import DemoError
from mdic_ros.nodes.fast_dds import profile_environment

_STOP_S = 8.0


@contextlib.contextmanager
def isolated_domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID of this demo's own, set in the environment together with what keeps DDS on this machine.

    A bound TCP port on the loopback stands for the domain, so that two demos at once choose different ones.
    """
    for domain in random.sample(range(1, 101), 100):  # up to 101 DDS's ports are free on every system
        with socket.socket() as lock:
            try:
                lock.bind(("127.0.0.1", 23200 + domain))
            except OSError:
                continue
            os.environ["ROS_DOMAIN_ID"] = str(domain)
            os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
            os.environ.pop("ROS_STATIC_PEERS", None)
            os.environ.update(profile_environment(os.environ))
            yield domain
            return
    raise DemoError("the TCP ports 23201 to 23300 on 127.0.0.1, one for each ROS domain, are all taken")


def _yaml(value: object) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else str(value)


class NodeProcess:
    """A node of this package in a process; what it says goes to a file."""

    def __init__(
        self,
        name: str,
        namespace: str,
        parameters: Mapping[str, object],
        remaps: Sequence[str],
        logs: Path,
    ) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        arguments = ["--ros-args", "-r", f"__ns:={namespace}"]
        for remap in remaps:
            arguments += ["-r", remap]
        for key, value in parameters.items():
            arguments += ["-p", f"{key}:={_yaml(value)}"]
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"mdic_ros.nodes.{name}_node", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def log_tail(self, lines: int = 12) -> str:
        """The last lines that the node said."""
        text = self.log.read_text("utf8", errors="replace").strip().splitlines()
        return "\n".join(f"  | {line}" for line in text[-lines:]) or "  | (it said nothing)"

    def check(self) -> None:
        """Raises DemoError, with the end of its log, if the process has ended."""
        status = self.exit_status
        if status is not None:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            raise DemoError(f"{self.name}_node {how}. The last it said ({self.log}):\n{self.log_tail()}")

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C does."""
        if self.running:
            self._process.send_signal(signal.SIGINT)

    def wait(self) -> None:
        """Wait for its end; kill it when it takes too long."""
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    """Hold a Ctrl-C back until the end of the block, so that a process which has just started gets into the books.

    (Blocking the signal instead would be inherited by the process.) For the main thread.
    """
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


def stop(nodes: Sequence[NodeProcess]) -> None:
    """End all of them."""
    for node in nodes:
        node.interrupt()
    for node in nodes:
        node.wait()
