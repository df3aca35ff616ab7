"""The exceptions that a person sees without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the person at the keyboard can mend: a wrong path, a damaged file, an impossible request.

    `message` says what is wrong, with the names and numbers at hand; `hint` says what to do next. The command line
    prints both, one line each, and leaves with exit code 2. Misuse of the library by code is a `ValueError` instead.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    @property
    def told(self) -> str:
        """What a command says of it: a line with what is wrong, and one with what to do where that is known."""
        return f"error: {self.message}" + (f"\nhint: {self.hint}" if self.hint else "")


class ModelError(UserError):
    """A model computes what is no answer. No request is at fault, and another one would fare alike."""
