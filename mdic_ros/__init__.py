"""MDIC on ROS 2: distributed image compression for stereo cameras. `mdic_ros.codec` is the way in."""

import os
from pkgutil import extend_path

# Before any math library loads, so here, where everything comes in. Idle threads of OpenMP spin by default and take the
# processor from whatever else runs: beside another two-thread process an encode took a hundred times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A short spin before they sleep: the decoder has about a thousand parallel loops a picture, and sleeping in each costs
# it a third of its time (`mdic bench --busy 4`). 2000 is faster alone, and over four times slower beside busy loops.
os.environ.setdefault("GOMP_SPINCOUNT", "500")
# Recent releases of ONNX Runtime collect usage data for their vendor unless told not to when they load. A robot's link
# is not there for that, and nobody has agreed to it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.2.0"

# `mdic_ros.msg` is generated into the install tree. With a source checkout in front of it on sys.path
# (tests, live edits) the messages are still found there; in an installed package this line changes nothing.
__path__ = extend_path(__path__, __name__)
