"""What keeps an evaluation from being made."""

from mdic_ros.errors import MdicError


class EvaluationError(MdicError):
    """Data, a protocol or options that cannot be evaluated. The text says what to do."""
