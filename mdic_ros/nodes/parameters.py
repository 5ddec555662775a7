"""The parameters of every node, declared once, as data.

Declaration with descriptors, validation, docs/parameters.md and config/*.yaml all come from the tables at the
end of this file. After a change, write the files anew:

    python -m mdic_ros.nodes.parameters
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mdic_ros.codec.limits import MAX_SEED, MAX_STEPS, MAX_THREADS
from mdic_ros.codec.precision import DTYPES
from mdic_ros.datasets import LAYOUTS
from mdic_ros.errors import MdicError

Value = bool | int | float | str


class ParameterError(MdicError):
    """A parameter has a value that is not allowed; says which, and what is."""


@dataclass(frozen=True)
class Parameter:
    """One parameter. `minimum` and `maximum` belong to the range; `choices` are for strings."""

    name: str
    default: Value
    text: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    changeable: bool = False
    or_zero: bool = False  # 0 is allowed besides the range, and means "off" or "as it comes"

    @property
    def type(self) -> type:
        return type(self.default)

    @property
    def allowed(self) -> str:
        """What may be set, in words."""
        if self.type is bool:
            return "true or false"
        if self.choices:
            return " | ".join(self.choices)
        if self.minimum is None:
            return "any text" if self.type is str else "any number"
        zero = "0 or " if self.or_zero else ""
        if self.type is int:
            return f"{zero}whole numbers {self.minimum} to {self.maximum}"
        return f"{zero}{self.minimum:g} to {self.maximum:g}"

    def check(self, value: object) -> Value:
        """`value`, converted where nothing is lost by it (2 for 2.0). Raises ParameterError."""
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        good = type(value) is self.type
        if good and self.choices:
            good = value in self.choices
        if good and self.minimum is not None and not (self.or_zero and value == 0):
            assert self.maximum is not None and isinstance(value, int | float)
            good = self.minimum <= value <= self.maximum  # NaN fails
        if not good:
            raise ParameterError(f"{self.name}: {value!r} is not allowed; allowed: {self.allowed}")
        assert isinstance(value, bool | int | float | str)
        return value


@dataclass(frozen=True)
class Table:
    """All parameters of one node."""

    node: str
    text: str
    parameters: tuple[Parameter, ...]

    def __getitem__(self, name: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.name == name)


class Parameters:
    """Declares a table on a node and reads it, value by value when they are used: a change holds at once."""

    def __init__(self, node: Any, table: Table) -> None:
        """Raises ParameterError for a bad value on the command line or in a parameter file."""
        self._node = node
        self._table = {parameter.name: parameter for parameter in table.parameters}
        for parameter in table.parameters:
            self._declare(parameter)
        node.add_on_set_parameters_callback(self._validate)

    def read(self) -> SimpleNamespace:
        """All values, as attributes."""
        return SimpleNamespace(**{name: self[name] for name in self._table})

    def __getitem__(self, name: str) -> Any:
        return self._table[name].check(self._node.get_parameter(name).value)

    def limit(self, name: str, maximum: float) -> None:
        """Lower a maximum, for what is known only after start (the rate points). Raises ParameterError."""
        self._table[name] = replace(self._table[name], maximum=maximum)
        self[name]
        self._node.set_descriptor(name, _descriptor(self._table[name]))

    def _declare(self, parameter: Parameter) -> None:
        from rclpy.exceptions import ParameterException

        try:
            self._node.declare_parameter(parameter.name, parameter.default, _descriptor(parameter))
        except ParameterException as error:
            raise ParameterError(f"{parameter.name}: {error}; allowed: {parameter.allowed}") from error
        self[parameter.name]

    def _validate(self, changes: Iterable[Any]) -> Any:
        from rcl_interfaces.msg import SetParametersResult

        for change in changes:
            parameter = self._table.get(change.name)
            if parameter is None:
                continue  # use_sim_time, qos_overrides and the like are not ours
            try:
                parameter.check(change.value)
            except ParameterError as error:
                return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)


def _descriptor(parameter: Parameter) -> Any:
    """What `ros2 param describe` shows. rclpy itself refuses values outside the ranges, and names them."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType

    types = {
        bool: ParameterType.PARAMETER_BOOL,
        int: ParameterType.PARAMETER_INTEGER,
        float: ParameterType.PARAMETER_DOUBLE,
        str: ParameterType.PARAMETER_STRING,
    }
    descriptor = ParameterDescriptor(
        name=parameter.name,
        type=types[parameter.type],
        description=parameter.text,
        additional_constraints=f"allowed: {parameter.allowed}",
        read_only=not parameter.changeable,
        # ROS refuses 2 where 2.0 is meant; with this the value comes to our own check, which does not.
        dynamic_typing=parameter.type is float,
    )
    if parameter.minimum is not None and parameter.maximum is not None and not parameter.or_zero:
        if parameter.type is int:
            descriptor.integer_range.append(
                IntegerRange(from_value=int(parameter.minimum), to_value=int(parameter.maximum), step=0)
            )
        else:
            descriptor.floating_point_range.append(
                FloatingPointRange(from_value=float(parameter.minimum), to_value=float(parameter.maximum), step=0.0)
            )
    return descriptor


# ---- documents
# ------------------------------------------------------------------------------------------------------


def _literal(value: Value) -> str:
    """A YAML literal; floats keep their point, which tells ROS their type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def as_yaml(table: Table) -> str:
    """A parameter file with every default, and the reason for each as a comment."""
    lines = [f"# {line}" for line in textwrap.wrap(table.text, 110)]
    lines += [
        "#",
        "# Every value below is the default. `/**` applies it to the node whatever its name and namespace.",
        "# (live) can be changed while the node runs:  ros2 param set /NODE NAME VALUE",
        "# Written by `python -m mdic_ros.nodes.parameters`; a test keeps it equal to the tables there.",
        "/**:",
        "  ros__parameters:",
    ]
    for parameter in table.parameters:
        live = " (live)" if parameter.changeable else ""
        lines.append("")
        lines += [f"    # {line}" for line in textwrap.wrap(parameter.text, 106)]
        lines.append(f"    # Allowed: {parameter.allowed}.{live}")
        lines.append(f"    {parameter.name}: {_literal(parameter.default)}")
    return "\n".join(lines) + "\n"


def as_markdown(tables: Iterable[Table]) -> str:
    """docs/parameters.md."""
    lines = [
        "# Parameters",
        "",
        "Generated from the tables in `mdic_ros/nodes/parameters.py` by `python -m mdic_ros.nodes.parameters`.",
        "*Live* parameters can be changed while the node runs (`ros2 param set`); a value that is not allowed is",
        "refused, with the allowed ones in the answer. The others are read once, at start.",
        "",
        "Publishers also take ROS's own `qos_overrides.<topic>.publisher.{history,depth,reliability}`.",
    ]
    names = {bool: "bool", int: "int", float: "double", str: "string"}
    for table in tables:
        lines += ["", f"## {table.node}", "", *textwrap.wrap(table.text, 110), ""]
        lines += ["| name | type | default | allowed | live | meaning |", "|---|---|---|---|---|---|"]
        for parameter in table.parameters:
            cells = (
                f"`{parameter.name}`",
                names[parameter.type],
                f"`{_literal(parameter.default)}`",
                parameter.allowed.replace(" | ", ", "),
                "yes" if parameter.changeable else "",
                parameter.text,
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def documents() -> Mapping[str, str]:
    """All generated files: path in the repository -> content."""
    return {
        "config/encoder.yaml": as_yaml(ENCODER),
        "config/decoder.yaml": as_yaml(DECODER),
        "docs/parameters.md": as_markdown((ENCODER, DECODER, REPLAY)),
    }


def main(root: str = ".") -> None:
    """Write all generated files below `root`, the checkout."""
    for name, content in documents().items():
        Path(root, name).write_text(content, encoding="utf-8")


# ---- tables
# ---------------------------------------------------------------------------------------------------------

_MODEL = Parameter(
    "model",
    "",
    "Folder of the model bundle; empty is the one that ships with the package (models/mdic_tiny). Both "
    "ends need the same bundle: a decoder with another one refuses the stream.",
)
_ENCODER_DEVICE = Parameter(
    "device",
    "cpu",
    "Where ONNX Runtime computes the network: cpu, cuda or cuda:N, N the number of the GPU; cuda needs "
    "onnxruntime-gpu. A few tokens may differ between devices; every packet decodes on every device.",
)
_DECODER_DEVICE = Parameter(
    "device",
    "cpu",
    "Where PyTorch computes the network, by PyTorch's name: cpu, cuda, cuda:1 and others. Tokens are the same on all; "
    "pictures may differ a little.",
)
_THREADS = Parameter(
    "threads",
    0,
    "Processor threads of the network; 0 is as many as there are cores. On a robot with other work, leave it some.",
    0,
    MAX_THREADS,
)


def _reliability(of: str) -> Parameter:
    return Parameter(
        "reliability",
        "auto",
        f"Delivery that is asked for on {of}. auto: reliable if all publishers offer it, best effort "
        "otherwise, and again whenever a publisher comes or goes. Asking for reliable from a best-effort "
        "publisher yields nothing.",
        choices=("auto", "reliable", "best_effort"),
    )


ENCODER = Table(
    "encoder",
    "Encodes one camera. Runs on the robot. Subscribes to image (or image/compressed) and camera_info, "
    "publishes bitstream and stream_info. Encodes only while somebody subscribes to bitstream. When frames "
    "come faster than they are encoded, the newest one wins and the others are dropped and counted in "
    "/diagnostics.",
    (
        _MODEL,
        _ENCODER_DEVICE,
        _THREADS,
        Parameter(
            "transport",
            "raw",
            "raw subscribes to image (sensor_msgs/Image), compressed to image/compressed (JPEG or PNG in a "
            "sensor_msgs/CompressedImage). Remapping image moves both.",
            choices=("raw", "compressed"),
        ),
        Parameter(
            "view",
            "auto",
            "Which camera of the stereo pair is coded; the side image is the other one's. With the wrong answer "
            "pictures are as bad as without a side image. auto: right if P[3] in camera_info is below 0, which is "
            "how the right camera of a rectified pair says so, else left.",
            choices=("auto", "left", "right"),
            changeable=True,
        ),
        Parameter(
            "rate_point",
            -1,
            "Finest rate point to send: 0 is the coarsest picture and the fewest bytes, -1 the finest that "
            "the model has. The three limits that follow may choose a coarser one, never a finer one.",
            -1,
            15,
            changeable=True,
        ),
        Parameter(
            "max_bytes_per_frame",
            0,
            "No frame is larger than this, container included; 0 is no limit. A frame that does not fit "
            "even at rate point 0 is dropped. For links with a fixed packet size, e.g. 233 for LoRa; below "
            "1400 no frame is split.",
            0,
            1_000_000,
            changeable=True,
        ),
        Parameter(
            "target_bitrate_kbps",
            0.0,
            "In no window of window_s seconds are more bits sent than this many kbit/s allow, unless a "
            "single frame is larger; 0 is no "
            "limit. Frames get coarser first; when the coarsest is still too much, some are left out. "
            "Counts the payload: DDS over UDP adds about 212 bytes to each message, 17 kbit/s at 10 Hz.",
            0.0,
            100000.0,
            changeable=True,
        ),
        Parameter(
            "window_s",
            2.0,
            "Length of the sliding window for target_bitrate_kbps in seconds. Short windows suit links "
            "with small buffers, long ones let the quality vary more.",
            0.1,
            60.0,
            changeable=True,
        ),
        Parameter(
            "max_rate_hz",
            0.0,
            "Highest frame rate; frames above it are left out evenly, before any work is done; 0 is no "
            "limit. Set it to what the decoder keeps up with: bits for frames that nobody decodes are "
            "wasted.",
            0.0,
            1000.0,
            changeable=True,
        ),
        Parameter(
            "coded_height",
            0,
            "Height in pixels to which the image is scaled before coding; 0 is the source's own, or, when coded_width "
            "is set, what keeps the aspect ratio. The decoded image has this size, and its camera_info is scaled "
            "along.",
            64,
            4096,
            changeable=True,
            or_zero=True,
        ),
        Parameter(
            "coded_width",
            0,
            "Width in pixels to which the image is scaled before coding; 0 is the source's own, or, when coded_height "
            "is set, what keeps the aspect ratio.",
            128,
            4096,
            changeable=True,
            or_zero=True,
        ),
        _reliability("the image topic"),
    ),
)

DECODER = Table(
    "decoder",
    "Decodes one camera with the help of the other. Runs on the workstation. Subscribes to bitstream, "
    "stream_info and side/image (or side/image/compressed), publishes image_reconstructed, camera_info, "
    "mask and report. When frames come faster than they are decoded, the newest one wins and the others "
    "are dropped and counted in /diagnostics.",
    (
        _MODEL,
        _DECODER_DEVICE,
        Parameter(
            "dtype",
            "auto",
            "Numbers that the network computes with. auto: bfloat16 where the processor has it, which takes "
            "less time and changes pictures by less than 0.03 dB; float32 otherwise.",
            choices=DTYPES,
        ),
        _THREADS,
        Parameter(
            "side_transport",
            "raw",
            "raw subscribes to side/image (sensor_msgs/Image), compressed to side/image/compressed (JPEG "
            "or PNG in a sensor_msgs/CompressedImage). Remapping side/image moves both.",
            choices=("raw", "compressed"),
        ),
        Parameter(
            "steps",
            1,
            "Diffusion steps per frame. Time grows with it. 1 is fastest and closest to the original, but soft; 2 and "
            "more are sharp.",
            1,
            MAX_STEPS,
            changeable=True,
        ),
        Parameter(
            "seed",
            0,
            "Seed of the diffusion noise. With the same seed the same bytes and side image give the same picture.",
            0,
            MAX_SEED,
            changeable=True,
        ),
        Parameter(
            "caption",
            "auto",
            "Sentence that guides the picture. auto: the model's captioner describes the side image. none, or an "
            "empty text: no sentence.",
            changeable=True,
        ),
        Parameter(
            "caption_every",
            10,
            "N: the captioner runs on every N-th frame that has a side image; in between the last caption is used "
            "again. It is a slow stage, and the scene seldom changes its nouns within a second.",
            1,
            100000,
            changeable=True,
        ),
        Parameter(
            "rectify",
            True,
            "Measure, on the first ten frames and every tenth from then on, by how many rows the side image is off, "
            "and correct it: half a pixel costs 1 dB. Takes about as long as a decode each time. false: for "
            "cameras that are rectified to a quarter of a pixel of the coded size.",
            changeable=True,
        ),
        Parameter(
            "sync_slop_s",
            0.03,
            "Largest difference between the stamps of a frame and its side image, in seconds. Keep it "
            "below half the side camera's frame period, so that the nearest side image is the only "
            "candidate.",
            0.0,
            10.0,
            changeable=True,
        ),
        Parameter(
            "side_wait_s",
            0.1,
            "How long a frame waits for a side image that is not there yet, in seconds. Adds to the delay "
            "only when side images are late or missing.",
            0.0,
            10.0,
            changeable=True,
        ),
        Parameter(
            "on_missing_side",
            "none",
            "What to do when no side image came in time. none: decode without one, a coarser picture. "
            "last: use the newest one there is, whatever its stamp. skip: drop the frame, so that every "
            "picture shown had its side image.",
            choices=("none", "last", "skip"),
            changeable=True,
        ),
        Parameter(
            "side_history_s",
            6.0,
            "How long side images are kept, in seconds. A packet that comes later than this is decoded without one.",
            0.1,
            600.0,
            changeable=True,
        ),
        Parameter(
            "side_history_mb",
            256.0,
            "Memory for the side images that are kept, in megabytes; they are kept at the coded size. The oldest go "
            "first.",
            1.0,
            100000.0,
            changeable=True,
        ),
        Parameter(
            "max_pixels",
            1024 * 2048,
            "Largest picture, in pixels, that is decoded while there is no stream_info. A forged packet may claim "
            "4096x4096, and decoding that takes seconds.",
            64 * 128,
            4096 * 4096,
            changeable=True,
        ),
        _reliability("the bitstream and side image topics"),
    ),
)

REPLAY = Table(
    "replay",
    "Plays a recorded stereo drive as topics: a rosbag2 folder, or KITTI raw, odometry, stereo 2012/2015, "
    "EuRoC, TUM-VI, Cityscapes or left/right folders as downloaded. Needs no rosbag2. Publishes left/image_raw, "
    "left/camera_info, right/image_raw and right/camera_info. Images are played as they are: those of EuRoC and TUM-VI "
    "are not rectified, and 'mdic bag write --rectify-images' makes a bag that is. Of TUM-VI's 16 bits per pixel the "
    "upper 8 are played.",
    (
        Parameter("path", "", "The recording: a bag or a folder. Must be set."),
        Parameter(
            "layout",
            "auto",
            "How the recording is laid out; auto looks at what is there.",
            choices=("auto", *LAYOUTS),
        ),
        Parameter("rate", 1.0, "Speed of playing; 0.5 is half as fast as recorded.", 0.01, 100.0, changeable=True),
        Parameter(
            "loop",
            False,
            "Start again at the end. Stamps go on from where they were: time never jumps back.",
            changeable=True,
        ),
        Parameter("paused", False, "Hold before the next frame.", changeable=True),
        Parameter(
            "wait_for_subscribers",
            False,
            "Publish nothing until both image topics have a subscriber.",
        ),
        Parameter(
            "stamps",
            "recorded",
            "recorded: the recording's own stamps. now: the time of publishing, by the system clock, for "
            "measuring ages; left and right keep their small difference.",
            choices=("recorded", "now"),
        ),
        Parameter(
            "publish_clock",
            False,
            "Publish the recording's time on /clock, 100 times a second, for nodes with use_sim_time.",
        ),
        Parameter(
            "keep_topics",
            False,
            "Publish under the recording's own names (/kitti/camera_color_left/image_raw) instead of left/ and right/.",
        ),
    ),
)

if __name__ == "__main__":
    main(*sys.argv[1:])
