"""``join``: writes the configuration of a site's gateway from what `keys site` has printed."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path

from polevpn_trio.control import addresses
from polevpn_trio.control.advice import CANNOT_WRITE
from polevpn_trio.control.commented_json import read
from polevpn_trio.control.config import GatewayConfig, load_gateway, parse_gateway
from polevpn_trio.control.join_string import MAX_STRING, MEMBERS, read_join_string
from polevpn_trio.control.log import printable
from polevpn_trio.control.secret_file import write_file
from polevpn_trio.errors import ConfigError, HostError

STDIN = "-"


def join_command(options: argparse.Namespace) -> int:
    """Check a join string, and write the gateway's file."""
    output: Path = options.output
    if output.exists() and not options.force:
        raise ConfigError(output, "", "is there already, expected --force or another --output")
    values = read_join_string(_given(options.string))
    if options.local_network:
        values["local_networks"] = _narrowed(values, options.local_network)
    if "local_networks" in values:
        # So that hosts there, and not only this machine, are reached.
        values["forward"] = True
    if output.exists():
        values |= _kept(output, str(values["name"]))
    if options.masquerade:
        values["masquerade"] = True
    text = json.dumps(values, indent=4, ensure_ascii=False) + "\n"
    config = parse_gateway(output, text)
    try:
        write_file(output, text, replace=options.force)
    except FileExistsError:
        raise ConfigError(output, "", "is there already, expected --force") from None
    except OSError as error:
        raise HostError(
            f"{output} cannot be written: {error.strerror or error}", advice=CANNOT_WRITE
        ) from None
    _tell(config)
    return 0


def _given(text: str) -> str:
    if text != STDIN:
        return text
    if sys.stdin.isatty():
        # Not shown: it would stay on the screen, and in what the terminal remembers.
        return getpass.getpass("join string (not shown): ")
    return sys.stdin.read(MAX_STRING + 1)


def _narrowed(values: dict[str, object], wanted: list[str]) -> list[str]:
    """Check that the networks that a site is to register are among those that it may."""
    given = values.get("local_networks")
    allowed = (
        [addresses.parse_network(str(each)) for each in given] if isinstance(given, list) else []
    )
    for text in wanted:
        try:
            network = addresses.parse_network(text)
        except addresses.AddressMistake as mistake:
            raise ConfigError("--local-network", "", str(mistake)) from None
        if not any(
            network.overlaps(each) and each.prefixlen <= network.prefixlen for each in allowed
        ):
            may = ", ".join(map(str, allowed)) or "none"
            raise ConfigError(
                "--local-network", "", f"{network} is not the site's, expected one of: {may}"
            )
    return wanted


def _kept(file: Path, name: str) -> dict[str, object]:
    """Give what a file of the same site says beside what a join string does.

    Another site's, or one with mistakes, counts nothing.
    """
    try:
        if load_gateway(file).name != name:
            return {}
        return {key: value for key, value in read(file).items() if key not in MEMBERS}
    except ConfigError:
        return {}


def _tell(config: GatewayConfig) -> None:
    site = config.site
    own = [str(each) for each in (site.gateway, site.gateway6) if each is not None]
    parts = [*own, *map(str, site.local_networks)]
    print(printable(f"wrote {config.path} for site {config.name} ({', '.join(parts)})"))
    print(printable(f"next: sudo polevpn-trio gateway --config {config.path}"))
