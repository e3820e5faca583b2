"""The summary that ``check`` prints."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import attrs

from polevpn_trio.control.config import (
    GatewayConfig,
    KcpOptions,
    ListenerConfig,
    RouterConfig,
    ServerUrl,
    SiteConfig,
)
from polevpn_trio.control.router_trust import FirstUse, Insecure
from polevpn_trio.control.site_directory import KnownSite, SiteDirectory
from polevpn_trio.control.summary import summary

SECRET = "hush-hush-7c1f"


def lines(config: RouterConfig | GatewayConfig) -> list[str]:
    text = summary(config)
    assert SECRET not in text
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_gateway() -> None:
    config = GatewayConfig(
        path=Path("gateway.json"),
        servers=(
            ServerUrl("kcp", "a.example", 443, "/", "kcp://a.example"),
            ServerUrl("tls", "a.example", 443, "/", "tls://a.example"),
        ),
        key=SECRET,
        site=SiteConfig(
            gateway=IPv4Address("10.8.0.2"),
            gateway6=IPv6Address("fd08::2"),
            local_networks=(ip_network("192.168.1.0/24"), ip_network("fd00:1::/64")),
            route_networks=(ip_network("172.31.0.0/16"),),
            forward=True,
            masquerade=True,
            mss_clamp=False,
        ),
        router_trust=FirstUse(Path("known")),
        native=False,
        kcp_options=KcpOptions(1200, 128, 256),
        warnings=("something", "two\nlines"),
    )
    assert lines(config) == [
        "gateway.json: a good configuration for `gateway`",
        "server kcp://a.example, then tls://a.example",
        "verified by the certificate of its first use (known)",
        "dialect classic only",
        "timeouts each attempt 5 s",
        "tcp congestion control bbr if the kernel has it",
        "kcp options datagrams of 1200 bytes, windows of 128 (send) and 256 (receive) segments, "
        "repair up to 25 %",
        "gateway 10.8.0.2 and fd08::2 on a new tun device",
        "local networks 192.168.1.0/24, fd00:1::/64",
        "routes 172.31.0.0/16",
        "let in every source address",
        "mtu 1500 bytes, MSS left alone",
        "this machine switches on IP forwarding, masquerades what leaves the tunnel",
        "log level info",
        "warning something",
        "warning two\\nlines",
    ]


def test_a_router() -> None:
    files = (Path("server.crt"), Path("server.key"))
    config = RouterConfig(
        path=Path("router.json"),
        key=SECRET,
        kcp=ListenerConfig("::", 443, *files),
        tls=ListenerConfig("", 8443, *files),
    )
    assert lines(config) == [
        "router.json: a good configuration for `router`",
        "kcp UDP [::] port 443, certificate server.crt",
        "tls and wss TCP port 8443 of every address, certificate server.crt",
        "dialect native, classic with the originals",
        "timeouts login 10 s, without heartbeat 60 s",
        "queue 4194304 bytes for each gateway",
        "tcp congestion control bbr if the kernel has it",
        "own site none: only forwards between gateways",
        "log level info",
    ]


def test_features_that_are_left_out() -> None:
    config = RouterConfig(
        path=Path("router.json"),
        key=SECRET,
        features=("datagram", "fec", "handover", "ipv6", "probe", "whole"),
    )
    assert "dialect native without gso, classic with the originals" in lines(config)
    strict = attrs.evolve(config, classic=False)
    assert "dialect native without gso, none with the originals" in lines(strict)
    config = RouterConfig(path=Path("router.json"), key=SECRET, features=())
    assert (
        "dialect native without datagram, fec, gso, handover, ipv6, probe, whole, "
        "classic with the originals" in lines(config)
    )


def test_a_router_with_a_site() -> None:
    config = RouterConfig(
        path=Path("router.json"),
        key=SECRET,
        tls=ListenerConfig("0.0.0.0", 443, Path("a"), Path("b")),
        site=SiteConfig(gateway=IPv4Address("10.8.0.1"), interface="polevpn0"),
    )
    shown = lines(config)
    assert "gateway 10.8.0.1 on polevpn0" in shown
    assert "local networks none: only this machine" in shown
    assert "this machine neither forwarding nor masquerading is set up" in shown


def test_known_sites_are_named_as_far_as_they_fit() -> None:
    def known(*names: str) -> list[str]:
        sites = SiteDirectory({name: KnownSite(name, Path(name)) for name in names})
        found = lines(RouterConfig(path=Path("router.json"), key="", sites=sites))
        return [line for line in found if line.startswith("known sites")]

    assert known() == ["known sites none yet (see `keys site`)"]
    assert known("b", "a") == ["known sites a, b"]
    assert known(*"abcdefghijkl") == ["known sites a, b, c, d, e, f, g, h, i, j and 2 more"]


def test_a_gateway_says_under_which_name_it_is_known() -> None:
    config = GatewayConfig(
        path=Path("gateway.json"),
        servers=(ServerUrl("kcp", "a.example", 443, "/", "kcp://a.example"),),
        key=SECRET,
        site=SiteConfig(gateway=IPv4Address("10.8.0.2")),
        router_trust=Insecure(),
        name="berlin",
    )
    assert "known there as berlin" in lines(config)
