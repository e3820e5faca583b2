"""The sites that a router knows: which of them are given the same network."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

from polevpn_trio.control.addresses import Network
from polevpn_trio.control.config import RouterConfig
from polevpn_trio.control.site_directory import KnownSite
from polevpn_trio.doctor.finding import Finding, ok, warn


def judge_sites(config: RouterConfig) -> list[Finding]:
    """Whether two sites would both have the packets of a network; nothing where none are known."""
    if config.sites is None:
        return []
    sites = [each for each in config.sites.values() if not each.disabled]
    own = set(config.site.local_networks) if config.site is not None else set()
    found = [*_taken_by_the_router(sites, own), *_contested(sites)]
    return found or [ok("sites", "no two sites are given the same network with the same priority")]


def _taken_by_the_router(sites: list[KnownSite], own: set[Network]) -> Iterator[Finding]:
    for site in sites:
        for network in site.networks:
            if network in own:
                yield warn(
                    "sites",
                    f"{network} of {site.name} is a network of the router's own site, too",
                    f"the router's own site gets its packets, {site.name} none",
                    "give one of the two other addresses, or take the network out of its file",
                )


def _contested(sites: list[KnownSite]) -> Iterator[Finding]:
    given = defaultdict(list)
    for site in sites:
        for network in site.networks:
            given[network].append(site)
    for network, several in given.items():
        several.sort(key=lambda site: (site.priority, site.name))
        for _, equal in itertools.groupby(several, key=lambda site: site.priority):
            names = [site.name for site in equal]
            if len(names) > 1:
                yield warn(
                    "sites",
                    f"{network} is given to {' and '.join(names)}, with the same priority",
                    "the first of them to log in has it, and the others are refused",
                    'give one of them another "priority" if it stands in for the other, else '
                    "other addresses",
                )
