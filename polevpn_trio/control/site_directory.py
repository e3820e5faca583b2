"""The sites that a router knows: who each of them is, and what it may claim.

A site stands in the router's own file, under its name in ``gateways``, or in a file of its own in
``gateways_directory``, called by its name.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import attrs

from polevpn_trio.control import addresses
from polevpn_trio.control.addresses import Network
from polevpn_trio.control.commented_json import kind, read
from polevpn_trio.control.fingerprint import parse_fingerprint
from polevpn_trio.control.login_proof import Verifier
from polevpn_trio.control.members import Members, Report, shown
from polevpn_trio.errors import ConfigError

Address = IPv4Address | IPv6Address

MAX_SITES = 65_536
"""Sites of one router."""

DEFAULT_PRIORITY = 100
LOWEST_PRIORITY, HIGHEST_PRIORITY = 1, 1000

MOST_MEGABITS = 100_000

SITE_KEYS = (
    "key_hash",
    "certificate",
    "addresses",
    "networks",
    "priority",
    "source_check",
    "rate_limit",
    "disabled",
    "expires",
)
SUFFIX = ".json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_EXPECTED_NAME = "a name of at most 63 letters, digits, '.', '_' or '-'"


@attrs.frozen
class KnownSite:
    """One site: how its gateway proves who it is, and what it may register.

    With both verifiers and certificates, a gateway needs one of each. Several of one kind are
    for the time in which a key or certificate is replaced.
    """

    name: str
    file: Path
    verifiers: tuple[Verifier, ...] = ()
    certificates: tuple[bytes, ...] = ()
    """SHA-256 of client certificates."""
    addresses: frozenset[Address] = frozenset()
    networks: tuple[Network, ...] = ()
    priority: int = DEFAULT_PRIORITY
    """Among sites that register the same network: who has the highest gets its packets."""
    source_check: bool = True
    """Drop packets from it whose source it has not registered."""
    rate_limit: int | None = None
    """Mbit/s that pass from it, and to it; None if all do."""
    disabled: bool = False
    expires: datetime.datetime | None = None
    """From then on it is not let in."""

    def closed_because(self, now: datetime.datetime) -> str:
        """Say why this site is not let in now; "" if it is."""
        if self.disabled:
            return "disabled"
        if self.expires is not None and now >= self.expires:
            return f"expired on {self.expires:%Y-%m-%d %H:%M} UTC"
        return ""

    def refuses(self, claimed: Iterable[Address], networks: Iterable[Network]) -> str:
        """Say what of these this site may not register; "" if it may register all."""
        refused: list[Address | Network] = [each for each in claimed if each not in self.addresses]
        refused += [each for each in networks if not self._may_register(each)]
        if not refused:
            return ""
        return f"site {self.name} may not register {', '.join(map(str, refused))}"

    def _may_register(self, network: Network) -> bool:
        return any(
            (
                isinstance(network, IPv4Network)
                and isinstance(allowed, IPv4Network)
                and network.subnet_of(allowed)
            )
            or (
                isinstance(network, IPv6Network)
                and isinstance(allowed, IPv6Network)
                and network.subnet_of(allowed)
            )
            for allowed in self.networks
        )


class SiteDirectory(Mapping[str, KnownSite]):
    """All sites of a router by their names. Does not change."""

    def __init__(self, sites: Mapping[str, KnownSite]) -> None:
        self._sites = dict(sites)

    def __getitem__(self, name: str) -> KnownSite:
        return self._sites[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)

    @property
    def knows_certificates(self) -> bool:
        """Whether any gateway is known by a certificate, so that all must be asked for one."""
        return any(site.certificates for site in self._sites.values())


def is_site_name(text: str) -> bool:
    """Whether a site can be called so."""
    return _NAME.fullmatch(text) is not None


def read_sites(top: Members) -> SiteDirectory | None:
    """Read ``gateways`` and ``gateways_directory``; None if neither is there.

    Mistakes are reported to ``top``, those in other files too.
    """
    if not top.has("gateways") and not top.has("gateways_directory"):
        return None
    sites: dict[str, KnownSite] = {}
    if top.has("gateways"):
        _read_section(top, sites)
    if top.has("gateways_directory"):
        expected = "the path of a directory with a file for each site"
        text = top.text("gateways_directory", expected)
        if text:
            _read_directory(top, top.report.locate(text), sites)
        elif text == "":
            top.problem("gateways_directory", f"empty, expected {expected}")
    _check_addresses(top.report, sites)
    return SiteDirectory(sites)


def parse_site(file: Path, values: dict[str, object], others: SiteDirectory) -> KnownSite:
    """Give the site that ``file`` would be with these members, beside the others.

    Raises ConfigError.
    """
    report = Report(file)
    site = _site(Members(report, "", values, SITE_KEYS), file.stem)
    _check_addresses(report, {**others, site.name: site})
    report.finish()
    return site


def _read_section(top: Members, sites: dict[str, KnownSite]) -> None:
    value = top.value("gateways")
    if not isinstance(value, dict):
        top.problem("gateways", f"{kind(value)}, expected an object with a site under each name")
        return
    members = Members(top.report, "gateways.", value, tuple(value))
    for name in value:
        if not is_site_name(name):
            members.problem(shown(name), f"cannot be a site's name, expected {_EXPECTED_NAME}")
        else:
            site = members.section(name, SITE_KEYS)
            if site is not None:
                sites[name] = _site(site, name)


def _read_directory(top: Members, directory: Path, sites: dict[str, KnownSite]) -> None:
    try:
        files = sorted(path for path in directory.iterdir() if path.suffix == SUFFIX)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        top.problem(
            "gateways_directory",
            f"{directory} cannot be read: {reason}, expected a directory (`keys site` makes it)",
        )
        return
    if len(files) > MAX_SITES:
        top.problem("gateways_directory", f"{len(files)} sites, expected at most {MAX_SITES}")
        return
    for file in files:
        report = Report(file)
        if not is_site_name(file.stem):
            report.mistakes.append(ConfigError(file, "", f"expected {_EXPECTED_NAME} before .json"))
        elif file.stem in sites:
            report.mistakes.append(
                ConfigError(file, "", f"site stands in {top.report.file} too, expected one place")
            )
        else:
            try:
                members = Members(report, "", read(file), SITE_KEYS)
            except ConfigError as error:
                report.mistakes.append(error)
            else:
                sites[file.stem] = _site(members, file.stem)
                report.note_secret(file, f"the site's file {file}")
        top.report.mistakes += report.mistakes
        top.report.warnings += report.warnings
        top.report.secrets += report.secrets


def _site(members: Members, name: str) -> KnownSite:
    verifiers = []
    if members.has("key_hash"):
        expected = 'the hash of a key as `keys site` writes it, "scrypt1:...", or a list of them'
        for path, text in members.texts("key_hash", expected, one_or_more=True):
            try:
                verifiers.append(Verifier.from_text(text))
            except ValueError:
                members.problem(path, f"no hash of a key, expected {expected}")
    certificates = []
    if members.has("certificate"):
        expected = 'the fingerprint of the gateway\'s certificate, "sha256:...", or a list of them'
        for path, text in members.texts("certificate", expected, one_or_more=True):
            try:
                certificates.append(parse_fingerprint(text))
            except ValueError:
                members.problem(path, f'"{shown(text)}", expected {expected}')
    if not members.has("key_hash") and not members.has("certificate"):
        members.problem("key_hash", "missing, expected it, or certificate, or both")
    own: list[Address] = []
    if members.required("addresses", 'a list of addresses such as "10.8.0.2"'):
        for path, text in members.texts("addresses", "a list of addresses"):
            try:
                parse = addresses.parse_gateway6 if ":" in text else addresses.parse_gateway
                own.append(parse(text))
            except addresses.AddressMistake as mistake:
                members.problem(path, str(mistake))
    networks = []
    if members.has("networks"):
        for path, text in members.texts("networks", "a list of networks"):
            try:
                networks.append(addresses.parse_network(text))
            except addresses.AddressMistake as mistake:
                members.problem(path, str(mistake))
    return KnownSite(
        name=name,
        file=members.report.file,
        verifiers=tuple(verifiers),
        certificates=tuple(certificates),
        addresses=frozenset(own),
        networks=tuple(networks),
        priority=members.whole(
            "priority", DEFAULT_PRIORITY, LOWEST_PRIORITY, HIGHEST_PRIORITY, "higher wins"
        ),
        source_check=members.flag("source_check", True),
        rate_limit=members.whole("rate_limit", 1, 1, MOST_MEGABITS, "Mbit/s")
        if members.has("rate_limit")
        else None,
        disabled=members.flag("disabled", False),
        expires=_expires(members),
    )


def _expires(members: Members) -> datetime.datetime | None:
    if not members.has("expires"):
        return None
    expected = 'a date such as "2027-06-30", the last day, or a time such as "2027-06-30T18:00Z"'
    text = members.text("expires", expected)
    if text is None:
        return None
    try:
        if len(text) == len("2027-06-30"):
            last = datetime.date.fromisoformat(text)
            midnight = datetime.datetime.combine(last, datetime.time(), datetime.UTC)
            return midnight + datetime.timedelta(days=1)
        moment = datetime.datetime.fromisoformat(text)
        # Without a zone it is UTC, as it is for a date.
        return (
            moment.astimezone(datetime.UTC)
            if moment.tzinfo
            else moment.replace(tzinfo=datetime.UTC)
        )
    except (ValueError, OverflowError):
        members.problem("expires", f'"{shown(text)}", expected {expected}')
        return None


def _check_addresses(report: Report, sites: Mapping[str, KnownSite]) -> None:
    """Report addresses that two sites may register: packets go to one."""
    owners: dict[Address, KnownSite] = {}
    for site in sites.values():
        for address in sorted(site.addresses, key=str):
            other = owners.setdefault(address, site)
            if other is not site:
                report.mistakes.append(
                    ConfigError(
                        site.file,
                        "addresses",
                        f"{address} of {site.name} is that of {other.name} ({other.file}) too, "
                        "expected addresses of its own for each site",
                    )
                )
