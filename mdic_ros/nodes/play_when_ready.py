r"""play_when_ready: runs the player of a recording when encoder and decoder are ready, and ends after the last picture.

    play_when_ready --wait-for /stereo/left/encoder --wait-for /stereo/left/decoder --reports /stereo/left/report \
        -- ros2 bag play drive --clock 100

The launch files run it. Whether a node is ready is read from the ROS graph: a node subscribes to its inputs when its
model is loaded, and not before. That holds at every log level and wherever the output goes.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from rclpy.logging import LoggingSeverity
from rclpy.node import Node, NodeNameNonExistentError

from mdic_ros.msg import DecodeReport
from mdic_ros.nodes import qos
from mdic_ros.nodes.runtime import bug, run

_INPUTS = {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "mdic_ros/msg/Bitstream"}

_TICK_S = 0.1
_NEWS_S = 10.0  # how often it says that it is still waiting
_DISCOVERY_S = 10.0  # by then the player has announced all its topics
_LAST_FRAME_S = 2.0  # for the encoder alone, which sends no reports

# How long to wait for one more picture when the recording has ended: twice the longest time between the last few
# pictures, within these limits. The upper one holds for the first picture, which takes longest on a busy machine.
_SHORTEST_DRAIN_S, _LONGEST_DRAIN_S = 3.0, 30.0

# A player that was interrupted may need this long to end, in seconds; then SIGINT, then SIGKILL.
_PLAYER_ENDS_S, _PLAYER_OBEYS_S = 1.0, 2.5


class PlayWhenReady(Node):
    """A thread of its own waits, runs the player and waits again; the executor receives the decoder's reports.

    `exit_code` is 0 when the recording was played and pictures came out, or somebody stopped it; else 1.
    """

    def __init__(self, options: argparse.Namespace, **node_options: Any) -> None:
        """`options`: what `parse` returns."""
        super().__init__("player", **node_options)
        self.get_logger().set_level(LoggingSeverity[options.log_level.upper()])
        self.exit_code = 0
        self._command: list[str] = options.command
        self._wait_for: list[str] = options.wait_for
        self._timeout_s: float = options.timeout
        self._pictures = 0
        self._recent: deque[float] = deque(maxlen=6)  # when the last pictures came out
        self._unfed = ""
        self._has_reports = bool(options.reports)
        if self._has_reports:
            self.create_subscription(DecodeReport, options.reports, self._on_report, qos.REPORT)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Stop the player and the thread. The player may take longer than `timeout`: up to 4 s."""
        self._stopping.set()
        self._thread.join(max(timeout, _PLAYER_ENDS_S + _PLAYER_OBEYS_S + 1.0))
        return not self._thread.is_alive()

    def _on_report(self, _: DecodeReport) -> None:
        self._pictures += 1
        self._recent.append(time.monotonic())

    # ---- the other thread

    def _going(self) -> bool:
        """Whether nobody has stopped the node; on a signal ROS goes first."""
        return not self._stopping.is_set() and bool(self.context.ok())

    def _run(self) -> None:
        try:
            if self._await_nodes() and self._play():
                self._drain()
        except Exception as error:
            if self._going():
                self._fail(bug(error))
        finally:
            if self._going():
                self.context.try_shutdown()

    def _fail(self, text: str) -> None:
        self.exit_code = 1
        self.get_logger().fatal(text)

    def _inputs(self, node: str) -> list[str]:
        """The topics with images or packets that a node subscribes to; none as long as it is not ready."""
        namespace, _, name = node.rpartition("/")
        try:
            found = self.get_subscriber_names_and_types_by_node(name, namespace or "/")
        except NodeNameNonExistentError:
            return []
        return [topic for topic, types in found if _INPUTS & set(types)]

    def _await_nodes(self) -> bool:
        """Wait until all nodes are ready; False when they are not in time, or when somebody stops this."""
        start = time.monotonic()
        news = start + _NEWS_S
        while self._going():
            missing = [node for node in self._wait_for if not self._inputs(node)]
            now = time.monotonic()
            if not missing:
                if self._wait_for:
                    self.get_logger().info(f"{' and '.join(self._wait_for)} ready after {now - start:.0f} s")
                self._warn_of_namesakes()
                return True
            names = " and ".join(missing)
            if now - start > self._timeout_s:
                self._fail(
                    f"{names} not ready after {self._timeout_s:.0f} s, so the recording is not played. The lines of "
                    "that node above say what it is doing; a slow or busy machine needs a larger ready_timeout"
                )
                return False
            if now > news:
                news = now + _NEWS_S
                self.get_logger().info(f"waiting for {names}: loading the model, {now - start:.0f} s so far")
            self._stopping.wait(_TICK_S)
        return False

    def _warn_of_namesakes(self) -> None:
        nodes = [f"{namespace.rstrip('/')}/{name}" for name, namespace in self.get_node_names_and_namespaces()]
        for node in self._wait_for:
            if nodes.count(node) > 1:
                self.get_logger().warning(
                    f"{nodes.count(node)} nodes are called {node}: an earlier launch still runs. Stop it, or pictures "
                    "come twice"
                )

    def _play(self) -> bool:
        """Run the player to its end; False when it failed, or when somebody stops this."""
        self.get_logger().info(f"starting {Path(self._command[0]).name}")
        self.get_logger().debug(shlex.join(self._command))
        try:
            player = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        except OSError as error:
            self._fail(f"the player does not start: {error}")
            return False
        try:
            start, warned = time.monotonic(), False
            while player.poll() is None:
                if self._stopping.wait(_TICK_S) or not self._going():
                    return False
                if not warned and time.monotonic() - start > _DISCOVERY_S:
                    warned = True
                    self._unfed = self._find_unfed()
                    if self._unfed:
                        self.get_logger().warning(self._unfed)
        finally:
            _end(player)
        if player.returncode:
            self._fail(f"the player ended with exit code {player.returncode}; its last lines say why")
        return player.returncode == 0

    def _find_unfed(self) -> str:
        """A sentence on the inputs that nobody publishes; empty when there are none."""
        sentences = [
            f"{node} listens to {topic}, which nobody publishes"
            for node in self._wait_for
            for topic in self._inputs(node)
            if self.count_publishers(topic) == 0
        ]
        if not sentences:
            return ""
        return (
            f"{'; '.join(sentences)}. Are coded_namespace, side_namespace and the transports those of the recording? "
            "`ros2 bag info` and `ros2 topic list` show its topics"
        )

    def _drain(self) -> None:
        """Wait for the last pictures, and say how many there were."""
        if not self._has_reports:
            self._stopping.wait(_LAST_FRAME_S if self._wait_for else 0.0)
            return
        self.get_logger().info("the recording has ended, waiting for the last pictures")
        ended = time.monotonic()
        while self._going() and not self._stopping.wait(_TICK_S):
            times = list(self._recent)
            longest = max((later - earlier for earlier, later in itertools.pairwise(times)), default=_LONGEST_DRAIN_S)
            patience = min(max(_SHORTEST_DRAIN_S, 2 * longest), _LONGEST_DRAIN_S)
            if time.monotonic() - max([ended, *times]) > patience:
                break
        if not self._going():
            return
        if self._pictures:
            self.get_logger().info(f"{self._pictures} pictures came out")
        else:
            hint = self._unfed or "The warnings of the nodes above and the drops in /diagnostics say why"
            self._fail(f"the recording has ended and not one picture came out. {hint}")


def _end(player: subprocess.Popen[bytes]) -> None:
    """Make sure that the player has ended. On Ctrl-C it has got SIGINT from the terminal and does so by itself."""
    for number, patience_s in ((None, _PLAYER_ENDS_S), (signal.SIGINT, _PLAYER_OBEYS_S), (signal.SIGKILL, None)):
        if number is not None:
            player.send_signal(number)
        try:
            player.wait(patience_s)
            return
        except subprocess.TimeoutExpired:
            continue


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; everything after `--` is the player's command."""
    parser = argparse.ArgumentParser(
        prog="play_when_ready",
        description="Run the player of a recording when encoder and decoder are ready; end after the last picture.",
        usage="%(prog)s [options] -- COMMAND ...",
    )
    parser.add_argument("--wait-for", action="append", default=[], metavar="NODE", help="full name; repeat for several")
    parser.add_argument("--timeout", type=float, default=180.0, metavar="S", help="longest wait (default: %(default)s)")
    parser.add_argument("--reports", default="", metavar="TOPIC", help="the decoder's reports; none: no decoder runs")
    levels = ["debug", "info", "warn", "error", "fatal"]
    parser.add_argument("--log-level", default="info", choices=levels, help="least severity that is logged")
    arguments = list(arguments)
    at = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:at])
    options.command = arguments[at + 1 :]
    if not options.command:
        parser.error("the player's command is missing after --")
    return options


def main(args: Sequence[str] | None = None) -> NoReturn:
    options = parse(sys.argv[1:] if args is None else args)
    run("player", lambda: PlayWhenReady(options), args=[])


if __name__ == "__main__":
    main()
