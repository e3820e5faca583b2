"""Where the errors of one connection end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from polevpn_trio.control.log import ContextLogger
from polevpn_trio.errors import LinkLost, PoleVpnError

log = ContextLogger(logging.getLogger(__name__))

_FAULT_OF_OURS = (
    "report it: this is a mistake in this program; with --log-level debug the log has the details"
)


@attrs.define
class Outcome:
    """How the body of `contained` ended: ``error`` is None if nothing went wrong in it."""

    error: Exception | None = None


@contextmanager
def contained(name: str) -> Iterator[Outcome]:
    """Let no error of the body out, be it alone or in groups; cancellation passes through.

    Errors of the peer or the network are for the caller to judge, in the outcome. Anything
    else is a fault of ours: it is logged, with ``name``, and counts as a lost link.
    """
    outcome = Outcome()
    try:
        yield outcome
    except* PoleVpnError as group:
        outcome.error = _without_frames(first_error(group))
    except* Exception as group:
        fault = first_error(group)
        log.error("%s: internal error: %r", name, fault, advice=_FAULT_OF_OURS)
        log.debug("%s: details of the internal error", name, exc_info=fault)
        outcome.error = LinkLost("internal error")


def _without_frames(error: Exception) -> Exception:
    """Take the tracebacks off an error and what led to it.

    Their frames hold the connection, which holds the outcome, which holds the error: a knot with
    all buffers in it, which only a full collection would undo.
    """
    link: BaseException | None = error
    while link is not None and link.__traceback__ is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def first_error(group: BaseExceptionGroup[Exception]) -> Exception:
    """Return the first exception of a group, however deep it lies."""
    error: Exception | BaseExceptionGroup[Exception] = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
