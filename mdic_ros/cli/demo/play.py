"""Plays a recording through the nodes and hands on what comes out, frame by frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mdic_ros.cli.demo.errors import DemoError
from mdic_ros.cli.demo.frames import Collector, Frame, Row
from mdic_ros.cli.demo.nodes import NodeProcess, interrupts_later, isolated_domain, stop
from mdic_ros.cli.demo.pacing import Pacer
from mdic_ros.datasets.bag_writer import BagWriter

_START_S = 180.0  # two processes that load torch and the model, on a slow machine
_SILENCE_S = 90.0  # for a frame that does not come out: more than the pacer's patience
_LAST_WORDS_S = 2.0  # for what the replay published last


@dataclass(frozen=True)
class Settings:
    """What to play and how.

    Attributes:
        recording: bag or folder.
        frames: number of frames to play.
        rate_hz: frame rate of the recording.
        size: (height, width) to code at.
        model: folder of the bundle.
        steps: denoising steps.
        rate_point: 0 = coarsest; -1 = finest.
        out: folder for the bag and the nodes' logs.
    """

    recording: Path
    frames: int
    rate_hz: float
    size: tuple[int, int]
    model: Path
    steps: int
    rate_point: int
    out: Path


def play(
    settings: Settings, show: Callable[[Frame, Row, float], None], say: Callable[[str], None]
) -> tuple[list[Row], float]:
    """Run replay, encoder and decoder until all frames are through.

    Args:
        settings: what and how.
        show: called with each frame, its figures and the speed of the replay (1 is as recorded).
        say: called with a line on what is going on.

    Returns:
        The figures of all frames, and the seconds from the first image to the last picture.

    Raises:
        DemoError: a node does not start or dies, or not one picture came out.
    """
    logs = settings.out / "logs"
    logs.mkdir(exist_ok=True)
    with ExitStack() as stack:
        domain = stack.enter_context(isolated_domain())
        session = _Session(settings, domain, logs, show, stack)
        say(f"starting encoder_node and decoder_node (ROS_DOMAIN_ID={domain}, this machine only) ...")
        session.start()
        say("playing; each frame is encoded, sent over DDS and decoded with the other camera's image")
        return session.run()


class _Session:
    def __init__(
        self,
        settings: Settings,
        domain: int,
        logs: Path,
        show: Callable[[Frame, Row, float], None],
        stack: ExitStack,
    ) -> None:
        from mdic_ros.nodes.monitor import Monitor  # late: reads the environment

        self._settings, self._logs, self._show = settings, logs, show
        self._rows: list[Row] = []
        self._nodes: list[NodeProcess] = []
        # Left in the opposite order: nodes first, and the bag last, which appears only if all went well.
        self._bag = stack.enter_context(BagWriter(settings.out / "decoded", overwrite=True))
        self._collector = Collector(settings.frames, self._frame)
        self._monitor = Monitor(domain, self._collector, settings.size)
        stack.callback(self._monitor.close)
        stack.callback(stop, self._nodes)
        self._pacer = Pacer(1 / settings.rate_hz, time.monotonic())
        self._info: tuple[int, str, str, bytes] | None = None

    def _node(self, name: str, namespace: str, parameters: dict[str, object], remaps: list[str]) -> None:
        with interrupts_later():
            self._nodes.append(NodeProcess(name, namespace, parameters, remaps, self._logs))

    def start(self) -> None:
        """All three nodes, wired up, with the replay held before the first frame."""
        settings = self._settings
        height, width = settings.size
        encoder = {"rate_point": settings.rate_point, "coded_height": height, "coded_width": width}
        self._node("encoder", "/stereo/left", {"model": str(settings.model), **encoder}, ["image:=image_raw"])
        self._node(
            "decoder",
            "/stereo/left",
            # A side image that is late here only means that the machine is busy: wait for it.
            {"model": str(settings.model), "steps": settings.steps, "side_wait_s": 1.0},
            ["side/image:=/stereo/right/image_raw", "camera_info:=image_reconstructed/camera_info"],
        )
        self._wait(self._monitor.coders_ready, "encoder_node and decoder_node")
        self._node("replay", "/stereo", {"path": str(settings.recording), "stamps": "now", "paused": True}, [])
        self._wait(self._monitor.replay_ready, "replay_node")
        self._monitor.spin(1.0)  # the graph is known here before the replay has matched the last subscription

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _START_S
        while not ready():
            self._monitor.spin(0.1)
            for node in self._nodes:
                node.check()
            if time.monotonic() > deadline:
                tails = "\n".join(f"{node.name}_node ({node.log}):\n{node.log_tail()}" for node in self._nodes)
                raise DemoError(f"{what} did not come up within {_START_S:.0f} s. The last they said:\n{tails}")

    def run(self) -> tuple[list[Row], float]:
        """Play, until all frames have come out or nothing comes any more."""
        collector, pacer = self._collector, self._pacer
        begin = news = time.monotonic()
        seen = (0, 0)
        while collector.done < self._settings.frames:
            self._monitor.spin(0.02)
            now = time.monotonic()
            pacer.progress(collector.played, collector.done, now)
            self._monitor.drive(pacer.rate, pacer.hold(now))
            if (collector.played, collector.done) != seen:
                if seen[0] == 0:
                    begin = now
                seen, news = (collector.played, collector.done), now
            for node in self._nodes:
                if node.name != "replay" or node.exit_status not in (None, 0):
                    node.check()
            ended = self._nodes[-1].exit_status == 0 and collector.done == collector.played
            if now - news > (_LAST_WORDS_S if ended else _SILENCE_S):
                break  # the replay left out damaged images, or the last frames have been lost
        end = time.monotonic()
        collector.finish()
        if not any(row.decoded for row in self._rows):
            tails = "\n".join(f"{node.name}_node ({node.log}):\n{node.log_tail(6)}" for node in self._nodes)
            raise DemoError(
                f"{len(self._rows)} frames were played and no picture came out. The last the nodes said:\n{tails}"
            )
        return self._rows, end - begin

    def _frame(self, frame: Frame) -> None:
        """A frame is through: its messages to the bag, its figures to the table."""
        row = frame.row(self._settings.rate_hz)
        self._rows.append(row)
        self._pacer.took(row.encode_ms + row.decode_ms)
        recorded = sorted(frame.recorded)
        if self._monitor.stream_info not in (None, self._info):
            self._info = self._monitor.stream_info
            assert self._info is not None
            recorded.insert(0, self._info)
        for time_ns, topic, msgtype, data in recorded:
            if topic.endswith("/stream_info"):
                self._bag.add_topic(topic, msgtype, latched=True)
            self._bag.write_bytes(topic, msgtype, data, time_ns)
        self._show(frame, row, self._pacer.rate)
