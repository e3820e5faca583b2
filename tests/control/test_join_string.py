"""The join string: what goes in comes out, and whatever else is given is refused in one line."""

from __future__ import annotations

import base64
import json
import string
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.control import join_string
from polevpn_trio.control.join_string import read_join_string, write_join_string
from polevpn_trio.errors import ConfigError

PIN = "sha256:" + "0f" * 32
KEY = "tuMiayuNNTAk5ii8xa8eFE_Gx53HEv3u"
SITE: dict[str, Any] = {
    "route_server": ["kcp://203.0.113.5:443", "tls://203.0.113.5:443"],
    "verify_router": PIN,
    "name": "berlin",
    "key": KEY,
    "gateway": "10.8.0.2",
    "local_networks": ["192.168.1.0/24"],
    "route_networks": ["10.8.0.0/24"],
}
STRING = write_join_string(SITE)
FIXED = (
    "polevpn://v1/ZQHGNqOdxwzSKIOIgElKLcrJzIMHT0mpb2ZiZamfX4hjtmlmpkVFokWqm2u8e4WpsYdrmXEptuAzw"
    "ht-hvjCDyW4AA"
)
ALPHABET = string.ascii_letters + string.digits + "-_"


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_join_string(text)
    line = str(caught.value)
    assert line.startswith("join string: ")
    assert "\n" not in line
    assert KEY not in line
    return line


def packed(data: bytes) -> str:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=join_string._DICTIONARY)
    return sealed(deflate.compress(data) + deflate.flush())


def sealed(body: bytes) -> str:
    data = zlib.crc32(body).to_bytes(4) + body
    return f"polevpn://v1/{base64.urlsafe_b64encode(data).rstrip(b'=').decode()}"


def test_what_was_written_is_read_back() -> None:
    assert read_join_string(STRING) == SITE


def test_it_is_short_and_needs_no_quotes_anywhere() -> None:
    assert len(STRING) < 250
    assert set(STRING) <= {*ALPHABET, ":", "/"}


def test_a_string_made_by_the_first_release_is_read_for_ever() -> None:
    assert read_join_string(FIXED) == SITE


@pytest.mark.parametrize("text", [f"  {STRING}\n", STRING[:70] + "\r\n " + STRING[70:]])
def test_line_breaks_on_the_way_do_not_matter(text: str) -> None:
    assert read_join_string(text) == SITE


@given(st.data())
def test_one_wrong_character_is_always_noticed(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(STRING) - 1))
    other = data.draw(st.sampled_from(ALPHABET).filter(lambda char: char != STRING[at]))
    refused(STRING[:at] + other + STRING[at + 1 :])


@given(st.data())
def test_lost_doubled_and_swapped_characters_are_noticed(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(STRING) - 1))
    size = data.draw(st.integers(1, len(STRING)))
    cut = STRING[:at] + STRING[at + size :]
    doubled = STRING[: at + size] + STRING[at:]
    swapped = STRING[:at] + STRING[at : at + 2][::-1] + STRING[at + 2 :]
    for text in (cut, doubled, swapped):
        if text != STRING:
            refused(text)


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    refused(text)
    refused(f"polevpn://{text}")
    refused(f"polevpn://v1/{text}")


@given(st.binary())
def test_any_bytes_under_a_good_checksum_are_refused(data: bytes) -> None:
    refused(sealed(data))
    refused(packed(data))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.sampled_from(join_string.MEMBERS), _VALUES)
def test_an_object_is_taken_only_as_a_good_configuration(name: str, value: object) -> None:
    changed = {**SITE, name: value}
    text = packed(json.dumps(changed).encode())
    try:
        found = read_join_string(text)
    except ConfigError:
        refused(text)
    else:
        assert found == changed
        assert read_join_string(write_join_string(found)) == found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"verify_router": None}, "verify_router: missing"),
        ({"verify_router": "insecure"}, "verify_router: missing"),
        ({"verify_router": "first-use"}, "verify_router: missing"),
        ({"verify_router": {"ca_file": "/etc/passwd"}}, "verify_router.ca_file"),
        ({"name": None}, "name: missing"),
        ({"key": None}, "key: missing"),
        ({"key": ""}, "key: empty"),
        ({"cert_file": "/etc/passwd"}, "holds more than this release knows"),
        ({"known_routers": "/etc/passwd"}, "holds more than this release knows"),
        ({"control": {"socket": "/run/x"}}, "holds more than this release knows"),
        ({"classic": True}, "holds more than this release knows"),
        ({"route_server": "http://203.0.113.5"}, "route_server"),
        ({"gateway": "10.8.0"}, "gateway"),
        ({"local_networks": ["10.8.0.1/24"]}, "local_networks[0]"),
        ({"route_networks": ["192.168.1.0/24"]}, "route_networks[0]"),
    ],
)
def test_a_string_that_says_too_little_or_too_much_is_refused(
    changes: dict[str, Any], expected: str
) -> None:
    values = {name: value for name, value in {**SITE, **changes}.items() if value is not None}
    assert f"join string: {expected}" in refused(packed(json.dumps(values).encode()))
    with pytest.raises(ConfigError):
        write_join_string(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("http://example.org", "does not start with polevpn://"),
        (STRING.removeprefix("polevpn://"), "does not start with polevpn://"),
        ("polevpn://v2/AAAA", "of another release"),
        ("polevpn://v1/", "damaged or incomplete"),
        ("polevpn://v1", "damaged or incomplete"),
        ("polevpn://x/AAAA", "damaged or incomplete"),
        ("polevpn://v1/" + "A" * (1 << 17), "longer than 65536"),
        (sealed(b""), "damaged or incomplete"),
        (packed(b"\xff"), "damaged or incomplete"),
        (packed(b"[]"), "holds a list"),
        (packed(b'{"key": "a", "key": "b"}'), "key: given twice"),
    ],
)
def test_refusals_say_what_is_wrong(text: str, expected: str) -> None:
    assert expected in refused(text)


def test_a_string_that_would_fill_the_memory_is_refused() -> None:
    assert "damaged" in refused(packed(b" " * (4 << 20)))


def test_a_site_with_a_thousand_networks_fits() -> None:
    networks = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(1000)]
    values = {**SITE, "local_networks": networks, "route_networks": ["172.16.0.0/16"]}
    assert read_join_string(write_join_string(values)) == values
