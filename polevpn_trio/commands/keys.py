"""``keys``: certificates of routers, and the keys of the sites that a router knows.

What is for other programs goes to stdout (a join string, a fingerprint); what is for people goes
to stderr where both are said.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from polevpn_trio.control import addresses
from polevpn_trio.control.advice import CANNOT_WRITE
from polevpn_trio.control.certificates import Unfit, read_certificate
from polevpn_trio.control.commented_json import read
from polevpn_trio.control.config import RouterConfig, load_router
from polevpn_trio.control.fingerprint import fingerprint_of, format_fingerprint
from polevpn_trio.control.invitation import doubts, free_address, invitation, listeners
from polevpn_trio.control.join_string import write_join_string
from polevpn_trio.control.log import printable
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.members import Members, Report, shown
from polevpn_trio.control.new_certificate import make_certificate
from polevpn_trio.control.secret_file import SECRET_MODE, locked, make_folder, write_file
from polevpn_trio.control.site_directory import (
    SITE_KEYS,
    SUFFIX,
    Address,
    KnownSite,
    SiteDirectory,
    is_site_name,
    parse_site,
)
from polevpn_trio.errors import ConfigError, HostError

CERT_FILE, KEY_FILE = "server.crt", "server.key"

UNNAMED = "localhost"
"""What a certificate says if it is given no name: nothing."""

KEY_BYTES = 24
"""Of a site's key: 192 bits, 32 characters."""

Command = Callable[[argparse.Namespace], int]

_PUBLIC_MODE = 0o644
_AFTERWARDS = "`polevpn-trio reload` has the router know"


def _alone(command: Command) -> Command:
    """Let no other `keys` change the files of the same router meanwhile."""

    @functools.wraps(command)
    def alone(options: argparse.Namespace) -> int:
        file = _config_file(options.config)
        # Says what is wrong if it is not there, or its folder.
        read(file)
        with locked(file.parent, wait=True):
            return command(options)

    return alone


def router_command(options: argparse.Namespace) -> int:
    """Make a router's certificate and private key."""
    names = options.name or [UNNAMED]
    files = {options.directory / CERT_FILE: _PUBLIC_MODE, options.directory / KEY_FILE: SECRET_MODE}
    for file in files:
        if file.exists() and not options.force:
            raise ConfigError(file, "", "is there already, expected --force to replace it")
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    made = make_certificate(names, datetime.timedelta(days=options.days), now)
    for (file, mode), data in zip(files.items(), (made.certificate, made.key), strict=True):
        _write(file, data.decode(), replace=options.force, mode=mode)
    cert_file, key_file = map(str, files)
    until = now + datetime.timedelta(days=options.days)
    print(f"wrote {cert_file} and {key_file}: ECDSA P-256, {', '.join(names)}, until {until:%F}")
    print('in the router\'s file, under "kcp" and "tls":')
    print(f'    "cert_file": {json.dumps(cert_file)},')
    print(f'    "key_file": {json.dumps(key_file)}')
    print("in the files of gateways, unless a join string tells them:")
    print(f'    "verify_router": "{_fingerprint(options.directory / CERT_FILE)}"')
    return 0


def fingerprint_command(options: argparse.Namespace) -> int:
    """Print the fingerprint of the first certificate in a file."""
    print(_fingerprint(options.file))
    return 0


@_alone
def site_command(options: argparse.Namespace) -> int:
    """Make a site's key, write the site's file, and print the join string."""
    name = options.site
    if not is_site_name(name):
        raise ConfigError(
            "keys site",
            "",
            f'"{shown(name)}" cannot be a site\'s name, expected at most 63 letters, digits, '
            '".", "_", "-"',
        )
    directory = _sites_directory(options.config)
    config, sites = _known_sites(options.config)
    if name in sites:
        raise ConfigError(
            sites[name].file, "", f"site {name} is there already, expected another name"
        )
    own = _own_addresses(options, config)
    key = secrets.token_urlsafe(KEY_BYTES)
    values: dict[str, object] = {
        "key_hash": str(SiteKey.derive(key, name).verifier),
        "addresses": list(map(str, own)),
        "networks": options.network,
    }
    if options.expires:
        values["expires"] = options.expires
    file = directory / f"{name}{SUFFIX}"
    site = parse_site(file, values, sites)
    told = _join_string(options, config, site, own, key)
    _write(file, _json(values), replace=False)
    for other in sites.values():
        for network in set(site.networks) & set(other.networks):
            _say(
                f"note: {network} is a network of {other.name}, too: give one of them another "
                '"priority", or only the first to log in gets it'
            )
    if site.networks and sites:
        _say(
            f"note: gateways that joined before do not know the way to {_listed(site.networks)}, "
            'unless they were given it by --route: add it to their "route_networks", and reload '
            "them"
        )
    _tell(told, f"wrote {file} ({_claims(site)})", site, config)
    return 0


@_alone
def renew_command(options: argparse.Namespace) -> int:
    """Give a site one more key, and print the join string with it."""
    config, sites = _known_sites(options.config)
    site, values = _own_file(options, config, sites)
    if not site.verifiers:
        raise ConfigError(site.file, "key_hash", "missing: the site is known by its certificate")
    key = secrets.token_urlsafe(KEY_BYTES)
    hashes = [*map(str, site.verifiers), str(SiteKey.derive(key, site.name).verifier)]
    # In the order of the file: the first of each kind is its gateway's.
    listed = Members(Report(site.file), "", values, SITE_KEYS).texts("addresses", "a list")
    own = [ip_address(text) for _, text in listed]
    told = _join_string(options, config, site, own, key)
    _write(site.file, _json({**values, "key_hash": hashes}), replace=True)
    _tell(
        told,
        f"changed {site.file}: old and new key are good until `keys drop-old {site.name}`",
        site,
        config,
    )
    return 0


@_alone
def drop_old_command(options: argparse.Namespace) -> int:
    """Leave a site its newest key only."""
    config, sites = _known_sites(options.config)
    site, values = _own_file(options, config, sites)
    if len(site.verifiers) < 2:
        raise ConfigError(site.file, "key_hash", "one key at most, expected an old and a new one")
    _write(site.file, _json({**values, "key_hash": str(site.verifiers[-1])}), replace=True)
    _say(f"changed {site.file}: only the newest key is good; {_AFTERWARDS}")
    return 0


@_alone
def revoke_command(options: argparse.Namespace) -> int:
    """Let a site in no more."""
    config, sites = _known_sites(options.config)
    site, values = _own_file(options, config, sites)
    _write(site.file, _json({**values, "disabled": True}), replace=True)
    _say(f'changed {site.file}: {site.name} is "disabled"; {_AFTERWARDS}')
    return 0


def list_command(options: argparse.Namespace) -> int:
    """Show the sites that a router knows, and what each may claim."""
    config, sites = _known_sites(options.config)
    if options.site is not None and options.site not in sites:
        raise _unknown(options.site, config.path)
    now = datetime.datetime.now(datetime.UTC)
    chosen = [site for name, site in sorted(sites.items()) if options.site in (None, name)]
    if options.json:
        print(json.dumps([_as_json(site, now) for site in chosen], indent=2))
        return 0
    rows = [("site", "state", "proof", "addresses and networks", "file")]
    for site in chosen:
        state = site.closed_because(now) or (
            f"until {site.expires:%Y-%m-%d %H:%M}" if site.expires else "good"
        )
        rows.append((site.name, state, _proof(site), _claims(site), str(site.file)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        print(printable(line.rstrip()))
    return 0


# --- What the router's configuration says


def _config_file(given: Path | None) -> Path:
    if given is not None:
        return given
    for name in ("router.json", "config.json"):
        if Path(name).exists():
            return Path(name)
    raise ConfigError(
        "router.json",
        "",
        "neither this file nor config.json is in the current directory, "
        "expected one of them or --config FILE",
    )


def _sites_directory(given: Path | None) -> Path:
    """Find where the files of sites are, and make that directory if need be."""
    path = _config_file(given)
    named = read(path).get("gateways_directory")
    if not isinstance(named, str) or not named:
        raise ConfigError(
            path,
            "gateways_directory",
            'missing, expected "gateways_directory": "sites", a directory for the files of sites',
        )
    directory = Report(path).locate(named)
    if not directory.exists():
        try:
            make_folder(directory)
        except (OSError, ValueError) as error:
            raise _cannot_write(directory, error) from None
    return directory


def _known_sites(given: Path | None) -> tuple[RouterConfig, SiteDirectory]:
    config = load_router(_config_file(given))
    for warning in config.warnings:
        _say(f"{config.path}: warning: {warning}")
    if config.sites is None:
        raise ConfigError(
            config.path,
            "gateways_directory",
            'missing, expected "gateways_directory": "sites", a directory for the files of sites',
        )
    return config, config.sites


def _own_file(
    options: argparse.Namespace, config: RouterConfig, sites: SiteDirectory
) -> tuple[KnownSite, dict[str, object]]:
    """Find a site, and the members of its file, which we may write anew."""
    site = sites.get(options.site)
    if site is None:
        raise _unknown(options.site, config.path)
    if site.file == config.path:
        raise ConfigError(
            site.file, f"gateways.{site.name}", "stands here, expected to be changed by hand"
        )
    values = read(site.file)
    try:
        json.loads(site.file.read_text("utf-8-sig"))
    except ValueError:
        raise ConfigError(
            site.file, "", "holds comments, which would be lost, expected to be changed by hand"
        ) from None
    return site, values


def _unknown(name: str, file: Path) -> ConfigError:
    return ConfigError(file, "", f'no site "{shown(name)}" is known, see `keys list`')


# --- What a site is given


def _own_addresses(options: argparse.Namespace, config: RouterConfig) -> list[Address]:
    own = list(_given_addresses(options))
    if not own:
        free = free_address(config)
        if free is None:
            raise ConfigError("--address", "", "missing, and no address beside the others is free")
        own.append(free)
    mine = (config.site.gateway, config.site.gateway6) if config.site else ()
    for address in own:
        if address in mine:
            raise ConfigError(config.path, "site", f"has {address} itself, expected another one")
    return own


def _given_addresses(options: argparse.Namespace) -> Iterator[Address]:
    try:
        if options.address is not None:
            yield addresses.parse_gateway(options.address)
        if options.address6 is not None:
            yield addresses.parse_gateway6(options.address6)
    except addresses.AddressMistake as mistake:
        raise ConfigError("--address", "", str(mistake)) from None


def _join_string(
    options: argparse.Namespace,
    config: RouterConfig,
    site: KnownSite,
    own: list[Address],
    key: str,
) -> str:
    try:
        routes = [addresses.parse_network(text) for text in options.route]
    except addresses.AddressMistake as mistake:
        raise ConfigError("--route", "", str(mistake)) from None
    values = invitation(config, site, own, key, servers=options.server, routes=routes)
    urls = values["route_server"]
    assert isinstance(urls, list)
    for doubt in doubts(config, urls):
        _say(f"note: {doubt}")
    return write_join_string(values)


def _tell(told: str, done: str, site: KnownSite, config: RouterConfig) -> None:
    closed = site.closed_because(datetime.datetime.now(datetime.UTC))
    if closed:
        _say(f"note: {site.name} is not let in: {closed}; {site.file} says so")
    for file in dict.fromkeys(listener.cert_file for listener in listeners(config)):
        certificate = read_certificate(file)
        if certificate.issuer != certificate.subject:
            _say(
                f"note: the gateway will know {file} by its fingerprint: before an authority "
                'issues the next one, tell it ("verify_router")'
            )
    _say(f"{done}; {_AFTERWARDS}, and on the gateway of {site.name} give the line below to")
    _say("    polevpn-trio join")
    _say("It holds the site's key, and is shown this once.")
    print(told)


# --- Looks and files


def _as_json(site: KnownSite, now: datetime.datetime) -> dict[str, object]:
    """Everything that is known of a site but its secrets."""
    return {
        "name": site.name,
        "closed_because": site.closed_because(now),
        "expires": site.expires.isoformat() if site.expires else None,
        "keys": len(site.verifiers),
        "certificates": [format_fingerprint(each) for each in site.certificates],
        "addresses": [str(each) for each in sorted(site.addresses, key=str)],
        "networks": [str(each) for each in site.networks],
        "priority": site.priority,
        "rate_limit": site.rate_limit,
        "source_check": site.source_check,
        "file": str(site.file),
    }


def _proof(site: KnownSite) -> str:
    keys = len(site.verifiers)
    parts = [("key" if keys == 1 else f"{keys} keys")] if keys else []
    return " and ".join(parts + ["certificate"] * bool(site.certificates))


def _listed(networks: Iterable[object]) -> str:
    return " and ".join(map(str, networks))


def _claims(site: KnownSite) -> str:
    return ", ".join(map(str, (*sorted(site.addresses, key=str), *site.networks)))


def _fingerprint(file: Path) -> str:
    try:
        certificate = read_certificate(file)
    except Unfit as unfit:
        raise ConfigError(file, "", unfit.problem.removeprefix(f"{file} ")) from None
    return format_fingerprint(fingerprint_of(certificate.public_bytes(Encoding.DER)))


def _json(values: dict[str, object]) -> str:
    return json.dumps(values, indent=4, ensure_ascii=False) + "\n"


def _write(file: Path, text: str, *, replace: bool, mode: int = SECRET_MODE) -> None:
    try:
        write_file(file, text, replace=replace, mode=mode)
    except OSError as error:
        raise _cannot_write(file, error) from None


def _cannot_write(file: Path, error: OSError | ValueError) -> HostError:
    reason = getattr(error, "strerror", None) or error
    return HostError(f"{file} cannot be written: {reason}", advice=CANNOT_WRITE)


def _say(line: str) -> None:
    print(printable(line), file=sys.stderr)
