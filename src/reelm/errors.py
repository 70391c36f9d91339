"""The errors a user can meet: each says what happened, where, and what to do next."""

from __future__ import annotations


class ReelmError(Exception):
    """Something reelm can explain.

    `what` happened (with numbers), `where` (a file, a second, a part), `remedy` (what to do next).
    `exit_code` is what the command line returns: 1 internal, 2 usage, 3 media, 4 checkpoint, 5 budget or policy.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(what, where, remedy)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.remedy}" if self.remedy else text


class UsageError(ReelmError):
    """The call contradicts itself or names something unknown."""

    exit_code = 2


class MediaError(ReelmError):
    """A file cannot be opened, decoded, or is not what it claims to be."""

    exit_code = 3


class CheckpointError(ReelmError):
    """Weights or a model folder are missing, incomplete or of an unknown form."""

    exit_code = 4


class BudgetError(ReelmError):
    """The request needs more tokens, pixels, seconds or bytes than allowed."""

    exit_code = 5


class PolicyError(ReelmError):
    """The request is refused by a rule (a source that is not allowed, a forbidden format)."""

    exit_code = 5
