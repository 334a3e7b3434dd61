"""The errors that users see. Every message says what is wrong, what was found, what is allowed and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from pit_join.statuses import STORE_FAILED

__all__ = [
    "ComputeError",
    "EntityError",
    "PitJoinError",
    "ProjectError",
    "RequestError",
    "SpineError",
    "StoreError",
    "StoreUrlError",
    "WarehouseError",
    "command_line",
    "option",
    "raise_together",
    "suggest",
    "suggest_service",
    "with_extra",
]


class PitJoinError(Exception):
    """The base of all errors of this package; `exit_status` is the exit status of the command line."""

    exit_status = 2


class ProjectError(PitJoinError):
    """A dbt project or declarations that are wrong; `problems` holds every problem that was found."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class RequestError(PitJoinError):
    """A reference, role or service that does not exist or cannot be read."""


class SpineError(PitJoinError):
    """A spine that is missing, cannot be read, or does not fit the views."""


class EntityError(PitJoinError):
    """Entity rows that do not fit the views whose features are asked for."""


class ComputeError(PitJoinError):
    """On-demand features that cannot be computed for some row, for example because a number is too large."""


class StoreError(PitJoinError):
    """An online store, or a record of it, that cannot be used.

    `status` is the status of features whose values are defaults because of the error.
    """

    exit_status = 3
    status = STORE_FAILED


class StoreUrlError(StoreError):
    """A URL of an online store that cannot be read, or two names for one store."""

    exit_status = 2


class WarehouseError(PitJoinError):
    """A warehouse, or a table of it, that cannot be used."""

    exit_status = 3


def raise_together(problems: Sequence[PitJoinError]) -> None:
    """Raise problems that were found one by one as a single error of the gravest kind; without any do nothing."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        gravest = max(problems, key=lambda problem: problem.exit_status)
        raise type(gravest)("\n".join(map(str, problems)))


_at_command_line = False


@contextmanager
def command_line() -> Iterator[None]:
    """Let messages name options as the command line does, and not as Python's arguments."""
    global _at_command_line
    before, _at_command_line = _at_command_line, True
    try:
        yield
    finally:
        _at_command_line = before


def option(in_python: str, at_command_line: str) -> str:
    """Return how a message names an option.

    >>> option("wait=", "--wait")
    'wait='
    >>> with command_line():
    ...     option("wait=", "--wait")
    '--wait'
    """
    return at_command_line if _at_command_line else in_python


@contextmanager
def with_extra(extra: str, what: str) -> Iterator[None]:
    """Name the extra of pit-join to install, if an import in this block fails for want of a package."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise PitJoinError(f"{what} needs the package {error.name}; run pip install 'pit-join[{extra}]'") from error


def suggest(name: str, known: Iterable[str], what: str) -> str:
    """Return the end of a sentence about an unknown name: the nearest known name, and all that exist."""
    names = sorted(known)
    if not names:
        return f"there are no {what}"
    near = difflib.get_close_matches(name.lower(), [known_name.lower() for known_name in names], n=1)
    hint = next((f"did you mean '{n}'? " for n in names if near and n.lower() == near[0]), "")
    listed = ", ".join(names[:30]) + (f", and {len(names) - 30} more" if len(names) > 30 else "")
    return f"{hint}{what}: {listed}"


def suggest_service(name: str, services: Iterable[str], views: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown feature service, which may be the name of a view.

    >>> suggest_service("weather", ["delays"], ["weather"])
    "'weather' is a feature view; ask for 'weather:*'"
    """
    if name in views:
        return f"'{name}' is a feature view; ask for '{name}:*'"
    return suggest(name, services, "feature services")
