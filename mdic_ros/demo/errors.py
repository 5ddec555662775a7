"""What ends the demo early."""


class DemoError(RuntimeError):
    """The demo cannot go on; the text says why and what to do."""
