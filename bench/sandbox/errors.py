"""The failures that a caller of the sandbox tells apart."""


class SandboxError(Exception):
    """Something that a person has to do or to know; the text says what, which and the remedy."""


class NotUpError(SandboxError):
    """No sandbox is up in this directory."""
