"""How operations fail."""


class OperationFailed(Exception):
    """The operation was refused or could not be finished. The text says what, which, and what to do; nothing is half done."""
