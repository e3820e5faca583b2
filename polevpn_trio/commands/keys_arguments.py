"""The command lines of `keys` and `join`. Light: `check` should not wait."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from polevpn_trio import manual
from polevpn_trio.commands.arguments import AddCommand
from polevpn_trio.control.addresses import is_host

DAYS, MOST_DAYS = 3650, 36500
"""That a router's certificate is good for."""

OUTPUT = Path("gateway.json")


def add_parsers(add_command: AddCommand) -> None:
    """Add these commands, each made by ``add_command``."""
    _add_join(add_command)
    keys = add_command(
        "keys", "make and renew a router's certificate, and sites' keys", manual.KEYS
    )
    kinds = keys.add_subparsers(title="what", metavar="WHAT", required=True)

    def add(
        name: str, run: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = kinds.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=manual.KEYS_OF[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.set_defaults(run=run)
        return parser

    router = add("router", _router, "make a router's certificate and private key")
    router.add_argument(
        "--directory",
        type=Path,
        metavar="DIR",
        default=Path(),
        help="for server.crt and server.key (default: the current one)",
    )
    router.add_argument(
        "--name",
        type=_host,
        action="append",
        metavar="HOST",
        help="name or address of the router, for all to see; may be given several times",
    )
    router.add_argument(
        "--days",
        type=_days,
        default=DAYS,
        metavar="N",
        help="that it is good for (default: %(default)d)",
    )
    router.add_argument("--force", action="store_true", help="replace files that are there")

    site = add("site", _site, "make a site's key and file, and print its join string")
    _add_site(site)
    site.add_argument(
        "--address", metavar="IPV4", help="of the gateway in the tunnel (default: the next free)"
    )
    site.add_argument("--address6", metavar="IPV6", help="beside it, or alone")
    site.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="NETWORK",
        help="at the site, which the others may reach; may be given several times",
    )
    site.add_argument("--expires", metavar="DATE", help="the last day on which it is let in")
    _add_invitation(site)

    listed = add("list", _list, "show the sites that a router knows")
    _add_site(listed, nargs="?")
    listed.add_argument("--json", action="store_true", help="print JSON for programs to read")
    revoke = add("revoke", _revoke, "let a site in no more")
    _add_site(revoke)
    renew = add("renew", _renew, "give a site a new key beside the old one")
    _add_site(renew)
    _add_invitation(renew)
    drop = add("drop-old", _drop_old, "leave a site its newest key only")
    _add_site(drop)
    fingerprint = add("fingerprint", _fingerprint, "print the fingerprint of a certificate")
    fingerprint.add_argument("file", type=Path, metavar="FILE", help="certificate in PEM form")


def _add_join(add_command: AddCommand) -> None:
    join = add_command("join", "write a gateway's configuration from a join string", manual.JOIN)
    join.add_argument(
        "string",
        nargs="?",
        default="-",
        metavar="STRING",
        help="what `keys site` has printed; -, or none, reads it from stdin",
    )
    join.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        default=OUTPUT,
        help="configuration to be written (default: ./%(default)s)",
    )
    join.add_argument(
        "--local-network",
        action="append",
        metavar="NETWORK",
        help="register this instead of all of the site's; may be given several times",
    )
    join.add_argument(
        "--masquerade",
        action="store_true",
        help="let packets from the tunnel leave to the LAN with this machine's address",
    )
    join.add_argument("--force", action="store_true", help="replace a file that is there")
    join.set_defaults(run=_join)


def _add_site(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    parser.add_argument("site", nargs=nargs, metavar="NAME", help="of the site")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="of the router (default: ./router.json, else ./config.json)",
    )


def _add_invitation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="HOST[:PORT]|URL",
        help="where the router is (default: the names in its certificate); may be given several "
        "times",
    )
    parser.add_argument(
        "--route",
        action="append",
        default=[],
        metavar="NETWORK",
        help="elsewhere, for the site to reach, beside those of the sites that are known; may be "
        "given several times",
    )


def _host(text: str) -> str:
    if not is_host(text) or "%" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no host name or address, expected one")
    return text


def _days(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 0 < number <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MOST_DAYS}")
    return number


def _router(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import keys

    return keys.router_command(options)


def _site(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import keys

    return keys.site_command(options)


def _list(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import keys

    return keys.list_command(options)


def _revoke(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import keys

    return keys.revoke_command(options)


def _renew(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import keys

    return keys.renew_command(options)


def _drop_old(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import keys

    return keys.drop_old_command(options)


def _fingerprint(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import keys

    return keys.fingerprint_command(options)


def _join(options: argparse.Namespace) -> int:
    from polevpn_trio.commands import join

    return join.join_command(options)
