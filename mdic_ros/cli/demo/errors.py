"""What ends the demo early."""

from mdic_ros.errors import MdicError


class DemoError(MdicError):
    """The demo cannot go on; the text says why and what to do."""
