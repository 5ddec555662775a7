"""One run: play, draw, write down, sum up."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Sequence
from typing import Any

from PIL import Image
from rich.console import Console

from mdic_ros.cli.demo import rate_points
from mdic_ros.cli.demo.frames import Frame, Row, json_number, medians
from mdic_ros.cli.demo.pictures import Video, panels
from mdic_ros.cli.demo.play import Settings, play
from mdic_ros.cli.demo.table import Display
from mdic_ros.codec import Bundle
from mdic_ros.datasets import StereoSource
from mdic_ros.evaluation.contact_sheet import Tile, contact_sheet, spread
from mdic_ros.evaluation.provenance import versions


def run(settings: Settings, source: StereoSource, bundle: Bundle, console: Console, words: Sequence[str]) -> None:
    """Play a recording through the nodes and leave video, contact sheet, bag and figures in `settings.out`.

    Args:
        settings: what to play and how.
        source: the recording, opened.
        bundle: the model.
        console: for the table and the summary.
        words: the command's options, for the record.

    Raises:
        DemoError: a node failed.
    """
    _Run(settings, source, bundle, console, words).run()


class _Run:
    """One run of the demo."""

    def __init__(
        self,
        settings: Settings,
        source: StereoSource,
        bundle: Bundle,
        console: Console,
        words: Sequence[str],
    ) -> None:
        self._settings, self._source, self._bundle = settings, source, bundle
        self._console, self._words = console, words

    def run(self) -> None:
        """Play, make the pictures, write the figures, sum up."""
        settings = self._settings
        rows, seconds = self._play()
        decoded = [row for row in rows if row.decoded]
        chosen = spread(len(rows))
        self._say(f"making the contact sheet: frames {', '.join(map(str, chosen))} at every rate point ...")
        captions = {row.frame: row.caption for row in decoded}
        samples = rate_points.code(self._bundle, self._source, chosen, settings.size, settings.steps, captions)
        points = rate_points.summary(samples, settings.size)
        self._sheet(samples)
        speed = (len(rows) - 1) / settings.rate_hz / seconds if len(rows) > 1 else 1.0
        speed = min(1.0, speed)
        middle = medians(rows)
        self._figures(rows, middle, points, chosen, speed)
        self._sum_up(rows, middle, points, speed)

    def _play(self) -> tuple[list[Row], float]:
        settings = self._settings
        scale = max(1, round(512 / settings.size[1]))
        last = None  # what the operator still has before the eyes when a frame is missing
        with (
            Video(settings.out / "side_by_side.mp4", settings.rate_hz) as video,
            Display(self._console, settings.frames) as display,
        ):

            def show(frame: Frame, row: Row, speed: float) -> None:
                nonlocal last
                if row.decoded:
                    last = frame.picture
                    label = f"decoded: {row.bytes} bytes, {row.bpp:.3f} bpp, {row.psnr_db:.1f} dB"
                else:
                    label = "not decoded; the last picture stays"
                tiles = [
                    Tile(frame.original, f"original (left camera), frame {row.frame}"),
                    Tile(frame.side, "side image (right camera), only the decoder has it"),
                    Tile(last, label),
                ]
                caption = f'caption of the side image (automatic): "{row.caption}"' if row.caption else ""
                video.add(panels(tiles, settings.size, scale, caption))
                display.add(row, speed)

            return play(settings, show, display.say)

    def _sheet(self, samples: Sequence[rate_points.Sample]) -> None:
        settings = self._settings
        title = (
            f"{self._bundle.model_id}: {self._source.path.name} coded at {settings.size[0]}x{settings.size[1]}, "
            f"decoded with the side image, steps: {settings.steps}",
            "PSNR against the original. The side image is the other camera's, as it is; only the decoder has it.",
        )
        sheet = contact_sheet(rate_points.tiles(samples), settings.size, title)
        Image.fromarray(sheet).save(settings.out / "contact_sheet.png", optimize=True)

    def _figures(
        self, rows: list[Row], middle: dict[str, float], points: list[dict[str, Any]], chosen: list[int], speed: float
    ) -> None:
        settings = self._settings
        figures = {
            "command": shlex.join(["python", "-m", "mdic_ros.cli.demo", *self._words]),
            "versions": versions() | {name: os.environ.get(name, "") for name in ("ROS_DISTRO", "RMW_IMPLEMENTATION")},
            "machine": {"cpus": os.cpu_count(), "architecture": platform.machine()},
            "model": {"id": self._bundle.model_id, "fingerprint": self._bundle.fingerprint},
            "recording": {
                "name": self._source.path.name,
                "layout": self._source.layout,
                "frames": len(self._source),
                "rate_hz": json_number(settings.rate_hz),
            },
            "settings": {
                "coded_height": settings.size[0],
                "coded_width": settings.size[1],
                "steps": settings.steps,
                "rate_point": settings.rate_point,
                "replay_speed": json_number(speed),
            },
            "explanations": {
                "bytes": "payload of the Bitstream message, header and checks included",
                "bpp": "bits per pixel of the coded size",
                "kbps": "kbit/s of such packets at the recording's frame rate, without DDS's own headers",
                "encode_ms": "image to packet, both as they arrive at the monitor: encoding and a trip through DDS",
                "decode_ms": "as the decoder reports it",
                "age_ms": "playing of the image to publishing of the picture",
                "psnr_db": "against the original scaled to the coded size",
                "side_psnr_db": "of the side image as it is, to compare with",
            },
            "frames_played": len(rows),
            "frames_decoded": sum(row.decoded for row in rows),
            "medians": {name: json_number(value) for name, value in middle.items()},
            "rate_points": {"frames": chosen, "medians": points},
            "frames": [row.as_json() for row in rows],
        }
        (settings.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf8")

    def _sum_up(self, rows: list[Row], middle: dict[str, float], points: list[dict[str, Any]], speed: float) -> None:
        settings, say = self._settings, self._say
        decoded = [row for row in rows if row.decoded]
        say("")
        aided = sum(row.side_used for row in decoded)
        say(
            f"{len(decoded)} of {len(rows)} frames crossed DDS and were decoded, "
            f"{'all' if aided == len(decoded) else aided} with the side image. Medians: "
            f"{middle['bytes']:.0f} bytes ({middle['bpp']:.4f} bpp, {middle['kbps']:.1f} kbit/s at "
            f"{settings.rate_hz:.3g} Hz), {middle['psnr_db']:.2f} dB PSNR"
            + (f" (the side image as it is: {middle['side_psnr_db']:.2f} dB)." if middle["side_psnr_db"] > 0 else ".")
        )
        if len(decoded) < len(rows):
            lost = [str(row.frame) for row in rows if not row.decoded]
            say(f"Not decoded: frame {', '.join(lost[:10])}{' ...' if len(lost) > 10 else ''}; see the logs.")
        say(
            f"Encoding took {middle['encode_ms']:.0f} ms, decoding {middle['decode_ms']:.0f} ms; pictures were "
            f"{middle['age_ms']:.0f} ms old."
            + (
                f" The drive was played at {speed:.2f} of its speed, so that this machine ({os.cpu_count()} CPUs) "
                "decodes every frame."
                if speed < 0.95
                else ""
            )
        )
        table = "; ".join(f"{p['bytes']:.0f} bytes {p['psnr_db']:.1f} dB" for p in points)
        say(f"Rate points, on the frames of the contact sheet: {table}.")
        say("Look at:")
        for name, what in (
            ("side_by_side.mp4", "original | side image | decoded"),
            ("contact_sheet.png", "some frames at every rate point"),
            ("decoded", "bag of all that encoder and decoder published (rosbag2, mcap)"),
            ("figures.json", "every figure of every frame"),
        ):
            path = settings.out / name
            say(f"  {path!s:<{len(str(settings.out)) + 20}} {what}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
