"""The exceptions that this package raises on purpose.

::

    PoleVpnError
    +- ConfigError   a configuration file is wrong: our operator's mistake
    +- HostError     this machine lacks or refuses something that we need
    +- BadPacket     the peer broke the protocol; ends that one connection
    +- LinkLost      the network or the peer went away; reconnect
    +- Refused       the peer understood us and said no
    +- Untrusted     the router is not, or may not be, the one that we mean

The text of each is one line, fit to be shown to an operator as it is.
"""

from __future__ import annotations

from pathlib import Path


class PoleVpnError(Exception):
    """Base of all errors that are expected to happen in the field.

    ``advice`` is what an operator can do about it: one line, "" if there is nothing to say.
    """

    def __init__(self, text: str, *, advice: str = "") -> None:
        super().__init__(text)
        self.advice = advice

    def with_advice(self) -> str:
        """Return the text and, if there is any, the advice behind it, in one line."""
        return f"{self}; what to do: {self.advice}" if self.advice else str(self)


class ConfigError(PoleVpnError):
    """A configuration file cannot be used.

    ``file`` is the file, ``key`` the path of the offending member such as ``kcp.listen``
    (empty when the file as a whole is meant), ``problem`` what is wrong and what was expected.
    """

    def __init__(self, file: Path | str, key: str, problem: str) -> None:
        where = f"{file}: {key}" if key else f"{file}"
        super().__init__(f"{where}: {problem}")
        self.file = Path(file)
        self.key = key
        self.problem = problem


class HostError(PoleVpnError):
    """This machine lacks something that we need, or does not permit it."""


class BadPacket(PoleVpnError):
    """The peer sent something that the protocol does not allow."""


class LinkLost(PoleVpnError):
    """The link to the peer is gone: closed, timed out, or unreachable."""


class Refused(PoleVpnError):
    """The peer refused us; the text says why, in its words."""


class Untrusted(PoleVpnError):
    """The router did not prove that it is the one we mean; nothing secret was said to it."""
