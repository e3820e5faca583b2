"""Configurations: what they become, and one clear line for each mistake in them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polevpn_trio.control import config as config_module
from polevpn_trio.control.commented_json import parse
from polevpn_trio.control.config import (
    GatewayConfig,
    KcpOptions,
    ListenerConfig,
    RouterConfig,
    ServerUrl,
    SiteConfig,
    load_any,
    load_gateway,
    load_router,
    parse_gateway,
    parse_router,
)
from polevpn_trio.control.known_routers import usual_file
from polevpn_trio.control.registration import FEATURES
from polevpn_trio.control.router_trust import FirstUse, Pinned
from polevpn_trio.control.shared_key import EXAMPLE_KEY
from polevpn_trio.errors import ConfigError

EXAMPLES = Path(__file__).parents[2] / "conf"
SECRET = "hush-hush-7c1f"

Values = dict[str, Any]
Load = Callable[[Path], RouterConfig | GatewayConfig]


@attrs.frozen
class Place:
    """A folder with a certificate in it, for configurations."""

    folder: Path

    def router(self) -> Values:
        listener = {"listen": "0.0.0.0:443", "cert_file": "ecdsa.crt", "key_file": "ecdsa.key"}
        return {"kcp": dict(listener), "tls": dict(listener), "key": SECRET}

    def write(self, values: Values | str) -> Path:
        file = self.folder / "some.json"
        file.write_text(values if isinstance(values, str) else json.dumps(values))
        file.chmod(0o600)
        return file

    def mistakes(self, load: Load, values: Values | str) -> list[str]:
        """The lines that loading gives, without the name of the file."""
        file = self.write(values)
        with pytest.raises(ConfigError) as caught:
            load(file)
        lines = [str(caught.value), *getattr(caught.value, "__notes__", ())]
        assert all(line.startswith(f"{file}: ") for line in lines)
        assert all("expected" in line or "did you mean" in line for line in lines)
        assert not any(SECRET in line or "\n" in line for line in lines)
        return [line.removeprefix(f"{file}: ").replace(f"{self.folder}/", "") for line in lines]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, certificates: Any) -> Place:
    folder = tmp_path_factory.mktemp("config")
    for name in ("rsa", "ecdsa"):
        made = getattr(certificates, name)
        (folder / f"{name}.crt").write_bytes(made.cert_file.read_bytes())
        (folder / f"{name}.key").write_bytes(made.key_file.read_bytes())
        (folder / f"{name}.key").chmod(0o600)
    return Place(folder)


def gateway(**changes: Any) -> Values:
    values: Values = {
        "route_server": "kcp://203.0.113.5:443",
        "key": SECRET,
        "gateway": "10.8.0.2",
        "local_networks": ["192.168.1.0/24"],
        "route_networks": ["10.8.0.0/24", "172.31.0.0/16"],
    }
    values.update(changes)
    return {name: value for name, value in values.items() if value is not ...}


def nested(values: Values, path: str, value: object) -> Values:
    """Change one member, named by its key path; ``...`` removes it."""
    *parents, name = path.split(".")
    inner = values
    for parent in parents:
        inner = inner.setdefault(parent, {})
    if value is ...:
        del inner[name]
    else:
        inner[name] = value
    return values


# --- What good files become ----------------------------------------------------------------


def test_a_routers_file_of_the_originals(place: Place) -> None:
    text = """{
        "kcp":{
            "listen":"0.0.0.0:443", //kcp
            "enable":true,
            "cert_file":"./ecdsa.crt", // dtls
            "key_file":"./ecdsa.key"
        },
        "tls":{
            "listen":"0.0.0.0:444",
            "enable":true,
            "cert_file":"./rsa.crt",
            "key_file":"./rsa.key"
        },
        "key":"hush-hush-7c1f" //shared
    }"""
    file = place.write(text)
    folder = place.folder
    assert load_router(file) == RouterConfig(
        path=file,
        key=SECRET,
        kcp=ListenerConfig("0.0.0.0", 443, folder / "ecdsa.crt", folder / "ecdsa.key"),
        tls=ListenerConfig("0.0.0.0", 444, folder / "rsa.crt", folder / "rsa.key"),
    )
    assert load_any(str(file)) == load_router(str(file))


def test_a_gateways_file_of_the_originals(place: Place) -> None:
    text = """{
    "route_server": "kcp://127.0.0.1:443", //router
    "key":"hush-hush-7c1f",
    "gateway": "169.254.0.5",//virtual
    "local_network":"192.168.10.0/24", //own
    "acls":["0.0.0.0/0"],
    "route_networks":["169.254.0.0/16","172.31.0.0/16","192.168.199.0/24","192.168.1.0/24"]
    }"""
    file = place.write(text)
    assert load_gateway(file) == GatewayConfig(
        path=file,
        servers=(ServerUrl("kcp", "127.0.0.1", 443, "/", "kcp://127.0.0.1:443"),),
        key=SECRET,
        site=SiteConfig(
            gateway=IPv4Address("169.254.0.5"),
            local_networks=(IPv4Network("192.168.10.0/24"),),
            acls=(IPv4Network("0.0.0.0/0"),),
            route_networks=tuple(
                IPv4Network(text)
                for text in (
                    "169.254.0.0/16",
                    "172.31.0.0/16",
                    "192.168.199.0/24",
                    "192.168.1.0/24",
                )
            ),
        ),
        router_trust=FirstUse(usual_file()),
    )
    assert load_any(file) == load_gateway(file)


def test_every_key_of_a_gateway(place: Place) -> None:
    values = gateway(
        route_server=["kcp://a.example", "tls://a.example", "wss://a.example:8443/tunnel"],
        gateway6="fd08::2",
        local_networks=["192.168.1.0/24", "fd00:1::/64"],
        route_networks=["0.0.0.0/0", "::/0"],
        acls=["10.0.0.0/8", "10.8.0.0/24"],
        interface="polevpn0",
        mtu=1400,
        forward=True,
        masquerade=True,
        mss_clamp=False,
        native=False,
        connect_timeout=2.5,
        verify_router=["sha256:" + "ab" * 32, "SHA256:" + ":".join(["CD"] * 32)],
        log_level="debug",
        kcp_options={"mtu": 1200, "send_window": 128, "receive_window": 8192, "repair_budget": 40},
    )
    config = load_gateway(place.write(values))
    assert [(s.scheme, s.host, s.port, s.path) for s in config.servers] == [
        ("kcp", "a.example", 443, "/"),
        ("tls", "a.example", 443, "/"),
        ("wss", "a.example", 8443, "/tunnel"),
    ]
    assert config.site == SiteConfig(
        gateway=IPv4Address("10.8.0.2"),
        gateway6=IPv6Address("fd08::2"),
        local_networks=(ip_network("192.168.1.0/24"), ip_network("fd00:1::/64")),
        route_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")),
        acls=(ip_network("10.0.0.0/8"), ip_network("10.8.0.0/24")),
        interface="polevpn0",
        mtu=1400,
        forward=True,
        masquerade=True,
        mss_clamp=False,
    )
    assert (config.native, config.connect_timeout, config.log_level) == (False, 2.5, "debug")
    assert config.kcp_options == KcpOptions(1200, 128, 8192, 40)
    assert config.router_trust == Pinned((b"\xab" * 32, b"\xcd" * 32))
    assert config.warnings == ()


def test_every_key_of_a_router(place: Place) -> None:
    values = place.router() | {
        "site": {"gateway6": "fd08::1", "local_networks": ["fd00:1::/64"], "mtu": 9000},
        "log_level": "error",
        "idle_timeout": 30,
        "auth_timeout": 1,
        "queue_bytes": 65536,
        "native": False,
        "tcp_congestion": "",
    }
    values["kcp"]["listen"] = ":443"
    values["tls"]["enable"] = False
    config = load_router(place.write(values | {"native": True}))
    assert config.kcp is not None
    assert (config.kcp.host, config.kcp.port) == ("", 443)
    assert config.tls is None
    assert config.site == SiteConfig(
        gateway6=IPv6Address("fd08::1"), local_networks=(ip_network("fd00:1::/64"),), mtu=9000
    )
    assert (config.idle_timeout, config.auth_timeout) == (30.0, 1.0)
    assert (config.queue_bytes, config.log_level, config.native) == (65536, "error", True)
    assert config.tcp_congestion == ""


@pytest.mark.parametrize("name", ["router", "gateway"])
def test_the_examples_are_good_complete_and_show_the_defaults(name: str, place: Place) -> None:
    folder = place.folder / "example"
    (folder / "keys").mkdir(parents=True, exist_ok=True)
    for kind in ("crt", "key"):
        source = (place.folder / f"rsa.{kind}").read_bytes()
        (folder / "keys" / f"server.{kind}").write_bytes(source)
    file = folder / f"{name}.json"
    file.write_bytes((EXAMPLES / f"{name}.json").read_bytes())
    config = load_any(file)
    assert "key: still the one of the example file, which everybody knows" in config.warnings
    assert config.key == EXAMPLE_KEY
    values = parse(file, file.read_text())
    assert config.run_as is None
    left_out = {"metrics", "user", "group"}
    if isinstance(config, RouterConfig):
        known = {"gateways", "gateways_directory", "admit_shared_key", "dashboard", "policy"}
        assert set(values) | known | left_out == set(config_module._ROUTER_KEYS)
        assert config.site is not None
        site = values["site"]
        assert isinstance(site, dict)
        shown = set(site)
        assert (config.idle_timeout, config.auth_timeout, config.queue_bytes) == (60, 10, 4 << 20)
    else:
        shown = set(values)
        identity = {"name", "cert_file", "key_file"}
        assert shown | identity | left_out | {"local_network"} == set(config_module._GATEWAY_KEYS)
        assert config.connect_timeout == 5.0
    assert shown >= set(config_module._SITE_KEYS) - {"local_network"}
    assert config.site is not None
    bare = SiteConfig()
    for field in ("mtu", "forward", "masquerade", "mss_clamp"):
        assert getattr(config.site, field) == getattr(bare, field)
    assert (config.log_level, config.native) == ("info", True)
    assert config.kcp_options == KcpOptions()


def test_files_are_looked_for_beside_the_configuration_then_where_we_run(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.folder)
    file = tmp_path / "router.json"
    file.write_text(json.dumps(place.router()))
    config = load_router(file)
    assert config.kcp is not None
    assert config.kcp.cert_file == Path("ecdsa.crt")
    (tmp_path / "ecdsa.crt").write_bytes((place.folder / "rsa.crt").read_bytes())
    (tmp_path / "ecdsa.key").write_bytes((place.folder / "rsa.key").read_bytes())
    config = load_router(file)
    assert config.kcp is not None
    assert config.kcp.cert_file == tmp_path / "ecdsa.crt"


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(place: Place) -> None:
    file = place.write("\ufeff" + json.dumps(gateway(), indent=1).replace("\n", " // x\r\n"))
    assert load_gateway(file).key == SECRET


def test_the_key_stays_out_of_every_repr(place: Place) -> None:
    assert SECRET not in repr(load_gateway(place.write(gateway())))
    assert SECRET not in repr(load_router(place.write(place.router())))


# --- What is wrong with the others ----------------------------------------------------------

GATEWAY_MISTAKES = [
    ("key", ..., "key: missing, expected the shared key as a string"),
    ("key", 123456, "key: a number, expected the shared key as a string"),
    ("key", None, "key: null, expected the shared key as a string"),
    ("key", "", "key: empty, expected a shared key (an empty one would let everybody in)"),
    ("key", "\ud800", "key: holds half of a surrogate pair, expected Unicode characters"),
    ("key", "x" * 5000, "key: 5000 bytes long, expected at most 4096"),
    ("route_server", ..., "route_server: missing, expected a URL such as"),
    ("route_server", [], "route_server: an empty list, expected a URL such as"),
    ("route_server", {}, "route_server: an object, expected a URL such as"),
    ("route_server", ["tls://a", 5], "route_server[1]: a number, expected a string"),
    ("route_server", "1.2.3.4:443", 'route_server: "1.2.3.4:443" has no scheme, expected'),
    ("route_server", ["kcp://a:0"], 'route_server[0]: bad port "0" in "a:0", expected'),
    (
        "route_server",
        ["kcp://a", "kcp://a:443"],
        'route_server[1]: "kcp://a:443" is given twice, expected each server once',
    ),
    ("gateway", ..., "gateway: missing, expected the address of this gateway in the tunnel"),
    ("gateway", 10, 'gateway: a number, expected an IPv4 address such as "10.8.0.2"'),
    ("gateway", "10.8.0.2/24", 'gateway: "10.8.0.2/24" is no IPv4 address, expected'),
    ("gateway6", "10.8.0.2", 'gateway6: "10.8.0.2" is no IPv6 address, expected'),
    ("local_networks", "192.168.1.0/24", "local_networks: a string, expected a list of networks"),
    ("local_network", "10.1.0.0/16", "local_network: given beside local_networks, expected only"),
    ("acls", [], "acls: empty, so every packet would be dropped, expected at least one network"),
    ("acls", [7], "acls[0]: a number, expected a string"),
    (
        "route_networks",
        ["192.168.7.3/24"],
        'route_networks[0]: "192.168.7.3/24" has bits set behind the prefix, '
        'expected the network "192.168.7.0/24"',
    ),
    (
        "local_networks",
        ["192.168.1.0/24", "192.168.0.0/16"],
        "local_networks[0]: 192.168.1.0/24 overlaps 192.168.0.0/16 (local_networks[1]), expected",
    ),
    (
        "route_networks",
        ["10.1.0.0/16", "10.1.0.0/16"],
        "route_networks[1]: 10.1.0.0/16 overlaps 10.1.0.0/16 (route_networks[0]), expected",
    ),
    (
        "route_networks",
        ["0.0.0.0/0", "0.0.0.0/0"],
        "route_networks[1]: 0.0.0.0/0 overlaps 0.0.0.0/0 (route_networks[0]), expected",
    ),
    (
        "route_networks",
        ["192.168.1.0/24"],
        "route_networks[0]: 192.168.1.0/24 would lead the own network 192.168.1.0/24 "
        "(local_networks[0]) into the tunnel, expected networks of other sites",
    ),
    (
        "route_networks",
        ["192.168.1.128/25"],
        "route_networks[0]: 192.168.1.128/25 would lead the own network 192.168.1.0/24 ",
    ),
    ("interface", "a-name-too-long0", 'interface: "a-name-too-long0" is no name, expected'),
    ("interface", 0, "interface: a number, expected the name of a network interface"),
    ("mtu", 575, "mtu: 575, expected a whole number from 576 to 9000 (bytes)"),
    ("mtu", 9001, "mtu: 9001, expected a whole number from 576 to 9000 (bytes)"),
    ("mtu", 1400.5, "mtu: 1400.5, expected a whole number from 576 to 9000 (bytes)"),
    ("mtu", True, "mtu: true, expected a whole number from 576 to 9000 (bytes)"),
    ("mtu", "1400", "mtu: a string, expected a whole number from 576 to 9000 (bytes)"),
    ("mtu", 10**50, "mtu: inf, expected a whole number from 576 to 9000 (bytes)"),
    ("mtu", float("nan"), "mtu: nan, expected a whole number from 576 to 9000 (bytes)"),
    ("forward", 1, "forward: a number, expected true or false"),
    ("masquerade", "true", "masquerade: a string, expected true or false"),
    (
        "native",
        None,
        "native: null, expected true, false, or an object with "
        "datagram, fec, gso, handover, ipv6, probe, whole",
    ),
    (
        "native",
        ["gso"],
        f"native: a list, expected true, false, or an object with {', '.join(FEATURES)}",
    ),
    ("native.gso", 0, "native.gso: a number, expected true or false"),
    ("native.gro", False, 'native.gro: unknown key, did you mean "gso"?'),
    ("connect_timeout", 0, "connect_timeout: 0, expected a number from 0.5 to 60 (seconds)"),
    ("connect_timeout", False, "connect_timeout: false, expected a number from 0.5 to 60"),
    ("connect_timeout", float("inf"), "connect_timeout: inf, expected a number from 0.5 to 60"),
    ("log_level", "loud", 'log_level: "loud", expected one of "debug", "info", "warning", "error"'),
    ("log_level", 3, 'log_level: a number, expected one of "debug"'),
    ("kcp_options", [], "kcp_options: a list, expected an object with the keys mtu, send_window"),
    ("kcp_options.mtu", 1500, "kcp_options.mtu: 1500, expected a whole number from 576 to 1400"),
    ("kcp_options.send_window", 16, "kcp_options.send_window: 16, expected a whole number from 32"),
    ("kcp_options.repair_budget", 101, "kcp_options.repair_budget: 101, expected a whole number"),
    ("kcp_options.window", 64, "kcp_options.window: unknown key, did you mean "),
    ("mtuu", 1400, 'mtuu: unknown key, did you mean "mtu"?'),
    ("Local_Networks", [], 'Local_Networks: unknown key, did you mean "local_networks"?'),
    ("idle_timeout", 60, "idle_timeout: unknown key, "),
    ("zzz", 1, "zzz: unknown key, expected one of route_server, name, cert_file, "),
    ("z\nz\x1b" + "z" * 90, 1, "z\\nz\\x1bzzz"),
]


@pytest.mark.parametrize(("path", "value", "expected"), GATEWAY_MISTAKES)
def test_each_mistake_of_a_gateway_is_one_line(
    path: str, value: object, expected: str, place: Place
) -> None:
    [line] = place.mistakes(load_gateway, nested(gateway(), path, value))
    assert line.startswith(expected)


ROUTER_MISTAKES = [
    ("key", ..., "key: missing, expected the shared key as a string"),
    ("kcp", [], "kcp: a list, expected an object with the keys enable, listen, cert_file"),
    ("kcp.enable", "yes", "kcp.enable: a string, expected true or false"),
    ("kcp.listen", ..., 'kcp.listen: missing, expected an address such as "0.0.0.0:443"'),
    ("kcp.listen", 443, 'kcp.listen: a number, expected an address such as "0.0.0.0:443"'),
    ("tls.listen", "0.0.0.0:port", 'tls.listen: bad port "port" in "0.0.0.0:port", expected'),
    ("tls.cert_file", ..., "tls.cert_file: missing, expected the path of a certificate in PEM"),
    ("tls.key_file", 7, "tls.key_file: a number, expected the path of a private key in PEM form"),
    ("tls.key_file", "", "tls.key_file: empty, expected the path of a private key in PEM form"),
    ("tls.key_file", "x.key", "tls.key_file: x.key cannot be read: No such file or directory"),
    ("tls.key_file", "a\0b", "tls.key_file: not a file name, expected the path of a file"),
    ("tls.cert_file", ".", "tls.cert_file: "),
    (
        "kcp.key_file",
        "rsa.key",
        "kcp.key_file: does not belong to the certificate ecdsa.crt, expected its private key",
    ),
    ("kcp.lisen", 1, 'kcp.lisen: unknown key, did you mean "listen"?'),
    ("wss", {}, 'wss: unknown key, did you mean "tls"?'),
    ("site", "10.8.0.1", "site: a string, expected an object with the keys gateway, gateway6"),
    ("site.gateway", "x", 'site.gateway: "x" is no IPv4 address, expected'),
    ("idle_timeout", 10, "idle_timeout: 10, expected a number from 15 to 86400 (seconds)"),
    ("auth_timeout", 1000, "auth_timeout: 1000, expected a number from 1 to 120 (seconds)"),
    ("queue_bytes", 1, "queue_bytes: 1, expected a whole number from 65536 to 1073741824"),
    ("tcp_congestion", "BBR!", 'tcp_congestion: "BBR!", expected the name of a congestion'),
    ("tcp_congestion", 1, "tcp_congestion: a number, expected the name of a congestion"),
]


@pytest.mark.parametrize(("path", "value", "expected"), ROUTER_MISTAKES)
def test_each_mistake_of_a_router_is_one_line(
    path: str, value: object, expected: str, place: Place
) -> None:
    [line] = place.mistakes(load_router, nested(place.router(), path, value))
    assert line.startswith(expected)


def test_all_mistakes_of_a_file_are_told_at_once(place: Place) -> None:
    values = gateway(key="", gateway="x", mtu=1, foward=True)
    lines = place.mistakes(load_gateway, values)
    assert [line.partition(":")[0] for line in lines] == ["foward", "key", "gateway", "mtu"]


def test_a_misspelt_key_is_not_called_missing_as_well(place: Place) -> None:
    assert place.mistakes(load_gateway, gateway(key=..., shared_key=SECRET)) == [
        'shared_key: unknown key, did you mean "key"?'
    ]


def test_a_router_listens_somewhere(place: Place) -> None:
    assert place.mistakes(load_router, {"key": SECRET}) == [
        'kcp: missing, expected a "kcp" or "tls" section, or both'
    ]
    values = place.router()
    values["kcp"]["enable"] = values["tls"]["enable"] = False
    assert place.mistakes(load_router, values) == [
        "kcp.enable: no listener is enabled, expected at least one"
    ]


def test_a_disabled_listener_needs_no_files(place: Place) -> None:
    values = place.router() | {"tls": {"enable": False}}
    assert load_router(place.write(values)).tls is None


def test_a_file_of_the_other_role_is_recognised(place: Place) -> None:
    [line] = place.mistakes(load_router, gateway())
    assert line.startswith("route_server: this is the file of a gateway, expected that of a router")
    assert line.endswith("start it with the command `gateway`")
    [line] = place.mistakes(load_gateway, place.router())
    assert line.startswith("kcp: this is the file of a router, expected that of a gateway")
    [line] = place.mistakes(load_any, {"key": SECRET})
    assert line.startswith("neither a router's file nor a gateway's, expected")


def test_ipv6_needs_a_larger_mtu(place: Place) -> None:
    for changes in ({"gateway6": "fd08::2"}, {"route_networks": ["fd00::/8"]}):
        assert place.mistakes(load_gateway, gateway(mtu=1279, **changes)) == [
            "mtu: 1279, expected a whole number from 1280 to 9000 (bytes, IPv6 needs 1280)"
        ]
    assert load_gateway(place.write(gateway(mtu=576))).site.mtu == 576


@pytest.mark.parametrize(
    ("local", "routes"),
    [
        (["192.168.1.0/24"], ["192.168.0.0/16"]),
        (["192.168.1.0/24"], ["0.0.0.0/0", "10.0.0.0/8"]),
        (["0.0.0.0/0", "192.168.1.0/24"], ["10.0.0.0/8"]),
        (["0.0.0.0/0", "::/0"], ["10.0.0.0/8", "fd00::/8"]),
        (["192.168.1.0/24"], ["::/0"]),
    ],
)
def test_wider_routes_and_default_routes_are_no_overlap(
    local: list[str], routes: list[str], place: Place
) -> None:
    values = gateway(local_networks=local, route_networks=routes)
    config = load_gateway(place.write(values))
    assert [str(network) for network in config.site.route_networks] == routes


def test_the_default_route_cannot_lead_both_ways(place: Place) -> None:
    values = gateway(local_networks=["0.0.0.0/0"], route_networks=["0.0.0.0/0"])
    [line] = place.mistakes(load_gateway, values)
    assert line.startswith("route_networks[0]: 0.0.0.0/0 would lead the own network 0.0.0.0/0")


def test_a_gateway_without_ipv4_suits_only_our_own_router(place: Place) -> None:
    values = gateway(gateway=..., gateway6="fd08::2")
    config = load_gateway(place.write(values))
    assert config.site.gateway is None
    assert config.warnings == (
        "gateway: missing: a router of the PoleVPN originals needs an IPv4 address",
    )
    assert place.mistakes(load_gateway, values | {"native": False}) == [
        "gateway: missing, expected an IPv4 address, since native is false"
    ]
    assert place.mistakes(load_gateway, values | {"native": {"ipv6": False}}) == [
        "gateway: missing, expected an IPv4 address, since native leaves out ipv6"
    ]


@pytest.mark.parametrize(
    ("value", "native", "features"),
    [
        (True, True, ("datagram", "fec", "gso", "handover", "ipv6", "probe", "whole")),
        ({}, True, ("datagram", "fec", "gso", "handover", "ipv6", "probe", "whole")),
        ({"gso": False}, True, ("datagram", "fec", "handover", "ipv6", "probe", "whole")),
        (dict.fromkeys(set(FEATURES) - {"gso"}, False) | {"gso": True}, True, ("gso",)),
        (dict.fromkeys(FEATURES, False), True, ()),
        (False, False, ()),
    ],
)
def test_features_can_be_switched_off_one_by_one(
    place: Place, value: object, native: bool, features: tuple[str, ...]
) -> None:
    configs = (
        load_gateway(place.write(gateway(native=value))),
        load_router(place.write(place.router() | {"native": value})),
    )
    for config in configs:
        assert (config.native, config.features) == (native, features)


def test_the_registration_fits_into_a_frame(place: Place) -> None:
    networks = [f"10.{n // 256}.{n % 256}.0/24" for n in range(5000)]
    values = gateway(local_networks=networks, route_networks=[])
    [line] = place.mistakes(load_gateway, values)
    assert re.match(r"local_networks: 5000 networks and the key take \d+ bytes, expected", line)


def test_what_is_allowed_but_hardly_meant_becomes_a_warning(place: Place) -> None:
    file = place.write(gateway(key="123456"))
    file.chmod(0o644)
    assert load_gateway(file).warnings == (
        "key: shorter than 8 characters, which is easy to guess",
        "this file holds the key and can be read by every user of this machine (chmod o-r)",
    )
    key_file = place.folder / "ecdsa.key"
    key_file.chmod(0o644)
    try:
        assert load_router(place.write(place.router())).warnings == (
            f"the private key {key_file} can be read by every user of this machine (chmod o-r)",
        )
    finally:
        key_file.chmod(0o600)


def test_an_expired_certificate_is_a_warning(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        config_module, "check_pair", lambda *_, **__: "certificate expired on 2020-01-01"
    )
    assert load_router(place.write(place.router())).warnings == (
        "kcp.cert_file: certificate expired on 2020-01-01",
        "tls.cert_file: certificate expired on 2020-01-01",
    )


# --- Files that are no configuration at all -------------------------------------------------


@pytest.mark.parametrize("load", [load_router, load_gateway, load_any])
def test_files_that_cannot_be_read(load: Load, place: Place) -> None:
    def said(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            load(path)
        return str(caught.value)

    missing = place.folder / "missing.json"
    assert said(missing) == (
        f"{missing}: cannot be read: No such file or directory, expected a JSON file"
    )
    assert said(place.folder) == (
        f"{place.folder}: cannot be read: Is a directory, expected a JSON file"
    )
    assert "larger than 1048576 bytes" in said(Path("/dev/zero"))
    assert "not a file name" in said(Path("a\0b"))
    assert said(Path("a\nb")).startswith("a\\nb: cannot be read")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(place: Place) -> None:
    file = place.write(gateway())
    file.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load_gateway(file)


def test_a_file_in_another_encoding(place: Place) -> None:
    file = place.write(gateway())
    file.write_bytes(b'{"route_server": "kcp://a",\n "key": "p\xe4ss"}')
    with pytest.raises(ConfigError, match="line 2: not UTF-8, expected text in UTF-8"):
        load_gateway(file)
    file.write_bytes(json.dumps(gateway()).encode("utf-16"))
    with pytest.raises(ConfigError, match="line 1: not UTF-8"):
        load_gateway(file)


def test_broken_json_names_line_and_column(place: Place) -> None:
    text = '{\n  "key": "x", // comment\n  "gateway": "10.8.0.2",\n}'
    assert place.mistakes(load_gateway, text) == [
        "line 3, column 24: found ',' before '}', expected no comma there"
    ]


# --- Anything else --------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["10.0.0.0/8", "::/0", "kcp://a:1", "0.0.0.0:1", "ecdsa.crt", "ecdsa.key"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
KEYS = sorted(
    {*config_module._ROUTER_KEYS, *config_module._GATEWAY_KEYS, *config_module._LISTENER_KEYS}
)


def check_survives(text: str, folder: Path) -> None:
    for load in (parse_router, parse_gateway):
        said = ""
        try:
            load(folder / "some.json", text)
        except ConfigError as error:
            said = "".join([str(error), *getattr(error, "__notes__", ())])
        assert "\n" not in said
        assert SECRET not in said


@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_a_config_error(place: Place, text: str) -> None:
    check_survives(text, place.folder)


@settings(max_examples=60)
@given(
    st.booleans(),
    st.dictionaries(st.sampled_from(KEYS), json_values, max_size=4),
    st.dictionaries(st.sampled_from(KEYS), json_values, max_size=4),
)
def test_any_change_of_a_good_file_is_taken_or_told(
    place: Place, a_router: bool, outer: Values, inner: Values
) -> None:
    values = place.router() if a_router else gateway()
    values.setdefault("kcp", {})
    if not a_router:
        del values["kcp"]
    values.update(outer)
    if isinstance(values.get("kcp"), dict):
        values["kcp"].update(inner)
    check_survives(json.dumps(values), place.folder)


@settings(max_examples=60)
@given(st.data())
def test_any_damage_to_the_text_of_a_good_file_is_taken_or_told(
    place: Place, data: st.DataObject
) -> None:
    text = json.dumps(data.draw(st.sampled_from([place.router(), gateway()])), indent=1)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    damage = data.draw(st.text(max_size=4) | st.text('{}[]",:/\\\n', max_size=4))
    # The damage may end up beside the key in the text, but a message never holds all of it.
    check_survives(text[:start] + damage + text[end:], place.folder)
