"""Names of routers: whether they can be looked up."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import attrs
import trio

from polevpn_trio.doctor.finding import Finding, fail, ok

TIMEOUT = 5.0
"""Seconds; a resolver that takes longer makes each reconnect late."""


@attrs.frozen
class NameFacts:
    host: str
    addresses: tuple[tuple[int, str], ...] = ()
    """Family and address, in the order in which they would be called."""
    error: str = ""


async def look_up(host: str) -> NameFacts:
    """Ask the system's resolver, as the gateway does before each attempt."""
    try:
        with trio.fail_after(TIMEOUT):
            found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except trio.TooSlowError:
        return NameFacts(host, error=f"no answer in {TIMEOUT:g} s")
    except (OSError, UnicodeError) as error:
        return NameFacts(host, error=str(getattr(error, "strerror", None) or error).lower())
    return NameFacts(host, tuple((int(each[0]), str(each[4][0])) for each in found))


def judge_name(facts: NameFacts) -> Finding | None:
    """None if there is nothing to look up."""
    if _is_address(facts.host):
        return None
    if facts.error:
        return fail(
            "dns",
            f"{facts.host} cannot be looked up: {facts.error}",
            "a gateway that was just started cannot find the router (one that is running keeps "
            "the last addresses)",
            f"getent ahosts {facts.host}; see /etc/resolv.conf; or write the router's address "
            "into route_server",
        )
    addresses = ", ".join(address for _, address in facts.addresses)
    return ok("dns", f"{facts.host} is {addresses}")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
