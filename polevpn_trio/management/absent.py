"""Who would get a packet if all sites were joined and named what they may. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network

import attrs

from polevpn_trio.control.advice import CLOSED_SITE
from polevpn_trio.control.site_directory import KnownSite
from polevpn_trio.forwarding.forwarder import Address
from polevpn_trio.forwarding.prefix_table import Network, longest
from polevpn_trio.management.answers import Trouble
from polevpn_trio.management.roster import Roster, Site

UNNAMED_ADVICE = (
    "let that site's gateway name the network in its local_networks, and `reload` it there"
)


@attrs.frozen
class Claim:
    """A network that a site may have, or had, but has not now."""

    network: Network
    site: str
    trouble: Trouble
    """Why it has not."""

    def __str__(self) -> str:
        return f"{self.site} has {self.network}, but {self.trouble.what}"

    @property
    def advice(self) -> str:
        """What to do about it, and where; "" if there is nothing to say."""
        return f"{self.site}: {self.trouble.advice}" if self.trouble.advice else ""


def claim_of_known(
    known: KnownSite, closed_because: str, roster: Roster, address: Address
) -> Claim | None:
    """What a known site has not to do with an address, but could have.

    ``closed_because`` says why it is not let in now, "" if it is.
    """
    network = longest((*known.networks, *map(ip_network, known.addresses)), address)
    if network is None:
        return None
    site = roster.named(known.name)
    if closed_because:
        trouble = Trouble(f"is not let in: {closed_because}", CLOSED_SITE)
    elif site is None or site.connected is None:
        trouble = _absence(site)
    elif _registered(site, address) is not None:
        return None
    else:
        trouble = Trouble("its gateway has not registered it", UNNAMED_ADVICE)
    return Claim(network, known.name, trouble)


def claim_of_earlier(site: Site, address: Address) -> Claim | None:
    """What a site that is down had to do with an address while it was up."""
    if site.connected is not None:
        return None
    network = _registered(site, address)
    return None if network is None else Claim(network, site.name, _absence(site))


def _registered(site: Site, address: Address) -> Network | None:
    return longest(map(ip_network, (*site.addresses, *site.networks)), address)


def nearest(claims: Iterable[Claim]) -> Iterator[Claim]:
    """The most precise ones, one of each site."""
    told = set()
    for claim in sorted(claims, key=lambda claim: -claim.network.prefixlen):
        if claim.site not in told:
            told.add(claim.site)
            yield claim


def _absence(site: Site | None) -> Trouble:
    trouble = site.trouble if site is not None else None
    if trouble is None:
        return Trouble("is down")
    return Trouble(f"is down: {trouble.what}", trouble.advice)
