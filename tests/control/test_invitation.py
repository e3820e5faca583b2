"""What a site's gateway is told: servers, pins, addresses and routes, from the router's files."""

from __future__ import annotations

import datetime
import json
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from polevpn_trio.control import invitation
from polevpn_trio.control.addresses import Network
from polevpn_trio.control.config import RouterConfig, load_router
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.new_certificate import make_certificate
from polevpn_trio.control.site_directory import Address, KnownSite, SiteDirectory
from polevpn_trio.errors import ConfigError

HASH = str(SiteKey.derive("a key", "berlin").verifier)
DAYS = datetime.timedelta(days=30)


class Router:
    """The files of a router in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.make("server", "203.0.113.5")

    def make(self, name: str, *names: str) -> None:
        made = make_certificate(names, DAYS, datetime.datetime.now(datetime.UTC))
        (self.folder / f"{name}.crt").write_bytes(made.certificate)
        (self.folder / f"{name}.key").write_bytes(made.key)
        (self.folder / f"{name}.key").chmod(0o600)

    def load(self, *, kcp: Any = None, tls: Any = None, **values: Any) -> RouterConfig:
        listener = {"listen": ":443", "cert_file": "server.crt", "key_file": "server.key"}
        if kcp is not False:
            values["kcp"] = {**listener, **(kcp or {})}
        if tls is not False:
            values["tls"] = {**listener, **(tls or {})}
        file = self.folder / "router.json"
        file.write_text(json.dumps({"gateways": {}, **values}))
        file.chmod(0o600)
        return load_router(file)


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return Router(tmp_path)


def site(*networks: str, name: str = "berlin") -> KnownSite:
    return KnownSite(name, Path("berlin.json"), networks=tuple(map(ip_network, networks)))


def told(
    config: RouterConfig,
    known: KnownSite | None = None,
    own: tuple[str, ...] = ("10.8.0.2",),
    **given: Any,
) -> dict[str, object]:
    addresses: list[Address] = [ip_address(text) for text in own]
    routes: list[Network] = [ip_network(text) for text in given.pop("routes", ())]
    return invitation.invitation(
        config, known or site(), addresses, "its key", routes=routes, **given
    )


# --- Where the router is


def test_without_servers_the_names_of_the_certificate_count(router: Router) -> None:
    router.make("server", "vpn.example.org", "2001:db8::5", "localhost", "127.0.0.1")
    assert told(router.load())["route_server"] == [
        "kcp://[2001:db8::5]:443",
        "tls://[2001:db8::5]:443",
        "kcp://vpn.example.org:443",
        "tls://vpn.example.org:443",
    ]


def test_or_where_the_router_listens(router: Router) -> None:
    router.make("server", "localhost")
    config = router.load(kcp={"listen": "203.0.113.9:4433"}, tls=False)
    assert told(config)["route_server"] == ["kcp://203.0.113.9:4433"]


@pytest.mark.parametrize(
    ("listen", "told_of_it"),
    [
        (":443", "all addresses"),
        ("0.0.0.0:443", "all addresses"),
        ("[::]:443", "all addresses"),
        ("127.0.0.1:443", "127.0.0.1, for this machine alone"),
        ("localhost:443", "localhost, for this machine alone"),
    ],
)
def test_a_router_that_nobody_can_name_needs_servers(
    router: Router, listen: str, told_of_it: str
) -> None:
    router.make("server", "localhost")
    with pytest.raises(ConfigError) as caught:
        told(router.load(kcp={"listen": listen}, tls=False))
    assert str(caught.value) == (
        f"--server: missing: neither the certificate nor `listen` ({told_of_it}) says where other "
        "machines reach this router, expected its public address or name, such as --server "
        "203.0.113.5"
    )


@pytest.mark.parametrize("server", ["0.0.0.0", "[::]:443", "tls://0.0.0.0:443"])
def test_all_addresses_are_nobodys(router: Router, server: str) -> None:
    with pytest.raises(ConfigError, match=r"^--server: (0\.0\.0\.0|::) is no machine's address, "):
        told(router.load(), servers=[server])


def test_what_keeps_others_from_the_router_is_doubted(router: Router) -> None:
    config = router.load(kcp={"listen": "127.0.0.1:4433"})
    assert list(invitation.doubts(config, ["kcp://203.0.113.5:443"])) == [
        '"kcp" listens on 127.0.0.1, where no other machine reaches it: let "listen" be ":4433", '
        "unless something on this machine passes it on"
    ]
    assert list(invitation.doubts(router.load(), ["tls://localhost:443", "kcp://a.example"])) == [
        "tls://localhost:443 leads to the gateway's own machine, give --server another name"
    ]


def test_a_certificate_without_names_needs_servers_too(router: Router, certificates: Any) -> None:
    pair = {name: str(getattr(certificates.ecdsa, name)) for name in ("cert_file", "key_file")}
    config = router.load(kcp=pair, tls=False)
    assert told(config, servers=["a.example"])["route_server"] == ["kcp://a.example:443"]


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("a.example", ["kcp://a.example:4000", "tls://a.example:5000"]),
        ("a.example:7", ["kcp://a.example:7", "tls://a.example:7"]),
        ("2001:db8::5", ["kcp://[2001:db8::5]:4000", "tls://[2001:db8::5]:5000"]),
        ("[2001:db8::5]", ["kcp://[2001:db8::5]:4000", "tls://[2001:db8::5]:5000"]),
        ("[2001:db8::5]:7", ["kcp://[2001:db8::5]:7", "tls://[2001:db8::5]:7"]),
        ("wss://a.example/x", ["wss://a.example/x"]),
    ],
)
def test_servers_are_hosts_with_the_listeners_ports_or_urls(
    router: Router, server: str, expected: list[str]
) -> None:
    config = router.load(kcp={"listen": ":4000"}, tls={"listen": ":5000"})
    assert told(config, servers=[server])["route_server"] == expected


@pytest.mark.parametrize("server", ["", "a b", "http://a.example", "a.example:0", "a:b:c"])
def test_a_server_that_is_none_is_refused(router: Router, server: str) -> None:
    with pytest.raises(ConfigError, match=r"^--server: "):
        told(router.load(), servers=[server])


def test_the_secret_path_of_a_hidden_entrance_is_told(router: Router) -> None:
    config = router.load(kcp=False, tls={"schemes": ["wss"], "websocket_path": "/chat/3f9a"})
    assert told(config)["route_server"] == ["wss://203.0.113.5:443/chat/3f9a"]


# --- By what it is known


def test_listeners_with_certificates_of_their_own_are_both_pinned(router: Router) -> None:
    router.make("other", "203.0.113.5")
    other = {"cert_file": "other.crt", "key_file": "other.key"}
    pins = told(router.load(tls=other))["verify_router"]
    assert isinstance(pins, list)
    assert len(pins) == 2
    assert told(router.load())["verify_router"] == pins[0]


# --- What is behind it


OTHERS = {
    "paris": {"key_hash": HASH, "addresses": ["10.8.0.3"], "networks": ["192.168.3.0/24"]},
    "rome": {
        "key_hash": HASH,
        "addresses": ["10.8.0.4", "fd08::4"],
        "networks": ["10.0.0.0/8", "fd00:4::/64", "0.0.0.0/0"],
    },
    "oslo": {
        "key_hash": HASH,
        "addresses": ["10.8.0.5"],
        "networks": ["172.16.9.0/24"],
        "disabled": True,
    },
}
OWN_SITE = {"gateway": "10.8.0.1", "local_networks": ["172.31.0.0/16"]}


@pytest.mark.parametrize(
    ("values", "own", "networks", "routes", "expected"),
    [
        ({}, ("10.8.0.2",), (), (), ["10.8.0.0/24"]),
        ({}, ("10.8.0.2", "fd08::2"), (), (), ["10.8.0.0/24", "fd08::/64"]),
        (
            {"gateways": {"paris": OTHERS["paris"]}, "site": OWN_SITE},
            ("10.8.0.2",),
            ("192.168.1.0/24",),
            ("192.168.7.0/24",),
            ["192.168.7.0/24", "172.31.0.0/16", "10.8.0.0/24", "192.168.3.0/24"],
        ),
        # Wider networks first, exits only if they are asked for, and sites only if they come in.
        (
            {"gateways": OTHERS},
            ("10.9.0.2",),
            (),
            (),
            ["10.0.0.0/8", "192.168.3.0/24", "fd00:4::/64"],
        ),
        ({"gateways": OTHERS}, ("10.9.0.2",), (), ("0.0.0.0/0",), ["0.0.0.0/0", "fd00:4::/64"]),
        # What the site has itself does not lead into the tunnel, unless it is the exit.
        (
            {"gateways": {"paris": OTHERS["paris"]}},
            ("10.8.0.2",),
            ("192.168.0.0/16",),
            (),
            ["10.8.0.0/24"],
        ),
        (
            {"gateways": {"paris": OTHERS["paris"]}},
            ("10.8.0.2",),
            ("0.0.0.0/0",),
            (),
            ["10.8.0.0/24", "192.168.3.0/24"],
        ),
    ],
)
def test_routes_are_what_is_known_as_far_as_it_goes_together(
    router: Router,
    values: dict[str, Any],
    own: tuple[str, ...],
    networks: tuple[str, ...],
    routes: tuple[str, ...],
    expected: list[str],
) -> None:
    values = told(router.load(**values), site(*networks), own, routes=routes)
    assert values["route_networks"] == expected
    assert values.get("local_networks", []) == list(networks)


def test_its_own_addresses_and_networks_are_told(router: Router) -> None:
    values = told(router.load(), site("192.168.1.0/24"), ("fd08::2", "10.8.0.2"))
    assert (values["name"], values["key"]) == ("berlin", "its key")
    assert (values["gateway"], values["gateway6"]) == ("10.8.0.2", "fd08::2")
    assert values["local_networks"] == ["192.168.1.0/24"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "10.8.0.2"),
        ({"gateways": OTHERS}, "10.8.0.2"),
        ({"site": {"gateway": "10.9.1.7"}}, "10.9.1.2"),
        ({"gateways": {"a": {"key_hash": HASH, "addresses": ["10.9.1.2"]}}}, "10.9.1.3"),
    ],
)
def test_the_next_free_address_is_beside_the_others(
    router: Router, values: dict[str, Any], expected: str
) -> None:
    assert invitation.free_address(router.load(**values)) == IPv4Address(expected)


def test_a_full_network_has_no_free_address(router: Router) -> None:
    hosts = [f"10.8.0.{number}" for number in range(2, 255)]
    config = router.load(gateways={"a": {"key_hash": HASH, "addresses": hosts}})
    assert isinstance(config.sites, SiteDirectory)
    assert invitation.free_address(config) is None
