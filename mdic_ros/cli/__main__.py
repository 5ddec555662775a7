"""`python -m mdic_ros.cli`, for `accelerate launch`."""

from mdic_ros.cli.app import main

main()
