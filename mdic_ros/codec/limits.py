"""The largest numbers that `Decoder.decode` takes. Apart from the decoder, for `--help`: nothing heavy is imported."""

from __future__ import annotations

#: Denoising steps. Pictures have stopped changing long before.
MAX_STEPS = 100
#: Seed of the noise: what fits a ROS parameter and every random generator.
MAX_SEED = 2**31 - 1
