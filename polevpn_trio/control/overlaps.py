"""Networks that more than one site registers: who may, who wins, and what is said about it.

No I/O but the log.

The higher priority wins. Of gateways with the shared key, which have all the same, the last one
does, as with the originals; of sites that are known, the second one is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from polevpn_trio.control import advice
from polevpn_trio.control.addresses import Network
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.control.site_directory import KnownSite
from polevpn_trio.forwarding.forwarder import Peer

SHARED_KEY_PRIORITY = 0
OWN_PRIORITY = 1001
"""Of the router's own site; those of known sites are in between."""

_NAMED = 3
"""Networks that a message names."""

Owners = Callable[[Network], Mapping[Peer, int]]
"""The peers that have registered a network, with their priorities."""
NameOf = Callable[[Peer], str]


def overlap_refusal(
    site: KnownSite, networks: Iterable[Network], owners: Owners, name_of: NameOf
) -> str:
    """Say why a known site may not register these; "" if it may."""
    taken = []
    for network in networks:
        for peer, priority in owners(network).items():
            name = name_of(peer)
            if priority == site.priority and name != site.name:
                taken.append(f"{network}, which {name} has")
    if not taken:
        return ""
    return f"site {site.name} with the same priority may not register {_first(taken)}"


def note_overlaps(
    log: ContextLogger, sender: str, networks: Iterable[Network], owners: Owners, name_of: NameOf
) -> None:
    """Write to the log which of these networks, just registered by ``sender``, others have too."""
    found = []
    decided = True
    for network in networks:
        registered = owners(network)
        if len(registered) > 1:
            *others, owner = map(name_of, registered)
            found.append(f"{network} (its packets go to {owner}, not to {', '.join(others)})")
            decided = decided and len(set(registered.values())) == len(registered)
    if found:
        level, remedy = (logging.INFO, "") if decided else (logging.WARNING, advice.OVERLAP)
        why = "by priority" if decided else "the last one has it"
        log.log(
            level,
            "%s: registered by several sites, %s: %s",
            sender,
            why,
            _first(found),
            advice=remedy,
        )


def _first(texts: list[str]) -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + more
