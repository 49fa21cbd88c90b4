"""The one exception that this package raises on purpose."""


class ProveError(Exception):
    """There is no trace; the message says why, and what would help."""
