"""The `mdic` command, one file a command."""

from mdic_ros.cli.app import main

__all__ = ["main"]
