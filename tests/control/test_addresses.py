"""Addresses, networks and URLs: what is taken, and what is said about the rest."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.control import addresses
from polevpn_trio.control.addresses import AddressMistake


def mistake(function: Callable[[str], object], text: str) -> str:
    with pytest.raises(AddressMistake) as caught:
        function(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:443", "0.0.0.0", 443),
        (":8443", "", 8443),
        ("[::]:443", "::", 443),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("vpn.example.org:65535", "vpn.example.org", 65535),
        ("localhost:0443", "localhost", 443),
    ],
)
def test_listen_addresses(text: str, host: str, port: int) -> None:
    assert addresses.parse_listen(text) == (host, port)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", '"" names no port, expected host:port'),
        ("443", '"443" names no port'),
        ("0.0.0.0", "names no port"),
        ("0.0.0.0:", 'bad port "" in "0.0.0.0:", expected a number from 1 to 65535'),
        ("0.0.0.0:0", 'bad port "0"'),
        ("0.0.0.0:65536", 'bad port "65536"'),
        ("0.0.0.0:https", 'bad port "https"'),
        ("0.0.0.0:+44", 'bad port "+44"'),
        ("0.0.0.0:٤٤", "bad port"),
        (":::443", "several colons"),
        ("::1:443", "(IPv6 addresses in brackets)"),
        ("[::1]", "names no port"),
        ("[::1]443", "bad brackets"),
        ("[1.2.3.4]:443", "bad brackets"),
        ("[::1:443", "bad brackets"),
        ("[::g]:443", '"::g" in "[::g]:443" is no address'),
        ("1.2.3:443", "is no address and no host name"),
        ("1.2.3.256:443", "is no address and no host name"),
        ("a b:443", "is no address and no host name"),
        ("a\nb:443", '"a\\nb" in "a\\nb:443" is no address'),
        ("-a:443", "is no address and no host name"),
        ("x" * 300 + ":443", "..."),
    ],
)
def test_bad_listen_addresses(text: str, part: str) -> None:
    assert part in mistake(addresses.parse_listen, text)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("kcp://1.2.3.4:443", ("kcp", "1.2.3.4", 443, "/")),
        ("tls://vpn.example.org", ("tls", "vpn.example.org", 443, "/")),
        ("tls://vpn.example.org:8443/", ("tls", "vpn.example.org", 8443, "/")),
        ("wss://vpn.example.org.", ("wss", "vpn.example.org.", 443, "/")),
        ("wss://[2001:db8::1]:444/a/b?c=d", ("wss", "2001:db8::1", 444, "/a/b?c=d")),
        ("kcp://[fe80::1%eth0]", ("kcp", "fe80::1%eth0", 443, "/")),
        ("kcp://xn--bcher-kva.example", ("kcp", "xn--bcher-kva.example", 443, "/")),
    ],
)
def test_urls(text: str, parsed: tuple[str, str, int, str]) -> None:
    assert addresses.parse_url(text) == parsed


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("1.2.3.4:443", '"1.2.3.4:443" has no scheme, expected a URL such as'),
        ("", "has no scheme"),
        ("http://1.2.3.4", 'unknown scheme "http"'),
        ("KCP://1.2.3.4", 'unknown scheme "KCP"'),
        ("kcp://", "names no host"),
        ("kcp://:443", "names no host"),
        ("kcp://1.2.3.4:99999", 'bad port "99999"'),
        ("kcp://1.2.3.4/x", "has a path"),
        ("tls://1.2.3.4?x", "has a path"),
        ("wss://1.2.3.4/a b", "the path cannot be requested"),
        ("wss://1.2.3.4/a\r\nHost: b", "the path cannot be requested"),
        ("wss://1.2.3.4/a#b", "the path cannot be requested"),
        ("kcp://bücher.example", "is no address and no host name"),
        ("kcp:// 1.2.3.4", "is no address and no host name"),
        ("kcp://1.2.3.4\n", "is no address and no host name"),
    ],
)
def test_bad_urls(text: str, part: str) -> None:
    assert part in mistake(addresses.parse_url, text)


def test_a_password_in_a_url_is_not_repeated() -> None:
    said = mistake(addresses.parse_url, "wss://user:hush@1.2.3.4/")
    assert said.startswith("names a user, expected a URL")
    assert "hush" not in said


@pytest.mark.parametrize(
    "text", ["10.0.0.0/8", "0.0.0.0/0", "192.168.1.1/32", "fd00::/8", "::/0", "fd00::1/128"]
)
def test_networks(text: str) -> None:
    assert addresses.parse_network(text) == ip_network(text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", '"" is no network, expected a network such as "192.168.1.0/24"'),
        ("lan", '"lan" is no network'),
        ("10.0.0/8", "is no network"),
        ("010.0.0.0/8", "is no network"),
        ("fe80::%eth0/64", "is no network"),
        ("10.0.0.1", 'no prefix length, expected a network such as "192.168.1.0/24" '),
        ("10.0.0.1", '(this one host is "10.0.0.1/32")'),
        ("10.0.0.0/", "bad prefix length, expected 0 to 32"),
        ("10.0.0.0/33", "bad prefix length, expected 0 to 32"),
        ("10.0.0.0/255.0.0.0", "bad prefix length"),
        ("10.0.0.0/-1", "bad prefix length"),
        ("10.0.0.0/٨", "bad prefix length"),
        ("fd00::/129", "bad prefix length, expected 0 to 128"),
        ("192.168.1.7/24", 'expected the network "192.168.1.0/24" (or the one host'),
        ("fd00::7/64", 'expected the network "fd00::/64" (or the one host "fd00::7/128")'),
    ],
)
def test_bad_networks(text: str, part: str) -> None:
    assert part in mistake(addresses.parse_network, text)


def test_gateway_addresses() -> None:
    assert addresses.parse_gateway("169.254.0.5") == IPv4Address("169.254.0.5")
    assert addresses.parse_gateway6("fd08::2") == IPv6Address("fd08::2")


@pytest.mark.parametrize(
    "text",
    ["", "10.8.0", "10.8.0.02", "10.8.0.2/24", " 10.8.0.2", "fd08::2", "10.8.0.256", "gw"],
)
def test_a_gateway_is_a_dotted_quad(text: str) -> None:
    assert f'"{text}" is no IPv4 address, expected' in mistake(addresses.parse_gateway, text)


@pytest.mark.parametrize("text", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_a_gateway_is_the_address_of_a_host(text: str) -> None:
    assert "cannot be the address of a host" in mistake(addresses.parse_gateway, text)


@pytest.mark.parametrize("text", ["", "10.8.0.2", "fd08::2/64", "fd08::2::"])
def test_a_gateway6_is_an_ipv6_address(text: str) -> None:
    assert "is no IPv6 address, expected" in mistake(addresses.parse_gateway6, text)


@pytest.mark.parametrize(
    "text", ["::", "::1", "ff02::1", "fe80::1", "fd08::2%eth0", "::ffff:10.8.0.2"]
)
def test_a_gateway6_is_routable(text: str) -> None:
    assert "cannot be reached through a tunnel" in mistake(addresses.parse_gateway6, text)


@pytest.mark.parametrize("text", ["polevpn0", "tun-1.2_x", "a" * 15])
def test_interface_names(text: str) -> None:
    assert addresses.is_interface_name(text)


@pytest.mark.parametrize("text", ["", "a" * 16, ".", "..", "all", "default", "a/b", "a b", "t%d"])
def test_names_that_no_interface_may_have(text: str) -> None:
    assert not addresses.is_interface_name(text)


def test_the_narrowest_enclosing_network_is_found() -> None:
    enclosing = addresses.EnclosingNetworks(
        ip_network(text) for text in ("10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "fd00::/8", "::/0")
    )
    assert enclosing.of(ip_network("10.1.1.0/24")) == ip_network("10.1.0.0/16")
    assert enclosing.of(ip_network("10.1.0.0/16")) == ip_network("10.0.0.0/8")
    assert enclosing.of(ip_network("fd00:1::/64")) == ip_network("fd00::/8")
    for alone in ("10.0.0.0/8", "11.0.0.0/24", "fe00::/64", "0.0.0.0/0"):
        assert enclosing.of(ip_network(alone)) is None


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 4)), max_size=8))
def test_enclosing_agrees_with_the_definition(drawn: list[tuple[int, int]]) -> None:
    networks = [IPv4Network((address << 28, length), strict=False) for address, length in drawn]
    enclosing = addresses.EnclosingNetworks(networks)
    for network in networks:
        wider = [n for n in networks if n != network and n.prefixlen and network.subnet_of(n)]
        narrowest = max(wider, key=lambda n: n.prefixlen, default=None)
        assert enclosing.of(network) == narrowest


PARSERS = (
    addresses.parse_listen,
    addresses.parse_url,
    addresses.parse_network,
    addresses.parse_gateway,
    addresses.parse_gateway6,
)
AWKWARD = st.text("0123456789abcdef.:/[]%@?#kcptlsw \n-_", max_size=40)


@given(st.sampled_from(PARSERS), st.text() | AWKWARD | AWKWARD.map(lambda rest: f"wss://{rest}"))
def test_any_text_is_taken_or_refused_in_one_line(
    function: Callable[[str], object], text: str
) -> None:
    said = ""
    try:
        function(text)
    except AddressMistake as error:
        said = str(error)
    assert said == "" or "expected" in said
    assert "\n" not in said
