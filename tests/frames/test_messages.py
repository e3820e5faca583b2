"""The JSON bodies: exact bytes as the originals write them, lenience as they read them."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.errors import BadPacket
from polevpn_trio.frames.messages import (
    MAX_BODY,
    MAX_FEATURES,
    AuthAnswer,
    AuthRequest,
    NativeOffer,
    RegisterAnswer,
    RegisterRequest,
)

VECTORS = Path(__file__).parent.parent / "vectors"
HEADER = 8
AUTH, REGISTER = 0, 1

Decoder = Callable[[bytes], object]
DECODERS: list[Decoder] = [
    AuthRequest.from_json_untrusted,
    AuthAnswer.from_json_untrusted,
    RegisterRequest.from_json_untrusted,
    RegisterAnswer.from_json_untrusted,
]


def pole_packets(group: str) -> list[tuple[str, bytes, object]]:
    """Name, body and decoded JSON (None where it is none) of a group of recorded frames."""
    groups = json.loads((VECTORS / "pole_packets.json").read_text())["groups"]
    return [
        (case["name"], bytes.fromhex(case["hex"])[HEADER:], case.get("json"))
        for case in groups[group]
    ]


def session_bodies(file: str, direction: str, command: int) -> set[bytes]:
    """Bodies of all frames of a command in one direction of the recorded TLS sessions."""
    bodies = set()
    for case in json.loads((VECTORS / file).read_text())["cases"]:
        streams: dict[str, bytes] = {}
        for record in case["records"]:
            if record["dir"] == direction:
                connection = record.get("conn", "")
                streams[connection] = streams.get(connection, b"") + bytes.fromhex(record["hex"])
        for stream in streams.values():
            rest = stream
            while len(rest) >= HEADER and (length := int.from_bytes(rest[:2])) >= HEADER:
                if int.from_bytes(rest[2:4]) == command:
                    bodies.add(rest[HEADER:length])
                rest = rest[length:]
    return bodies


AUTH_CASES = pole_packets("0_auth")
REGISTER_CASES = pole_packets("1_register")
REQUESTS_WE_WOULD_WRITE = [
    "array_one",
    "array_two",
    "array_default_route",
    "array_empty",
    "ipv6_cidr",
    "two_hundred_networks",
]


@pytest.mark.parametrize(("name", "body", "members"), AUTH_CASES, ids=[c[0] for c in AUTH_CASES])
def test_auth_bodies_are_read_and_written_as_recorded(
    name: str, body: bytes, members: dict[str, str]
) -> None:
    if name.startswith("auth_request"):
        request = AuthRequest.from_json_untrusted(body)
        assert request == AuthRequest(members["key"])
        assert request.to_json() == body
    else:
        answer = AuthAnswer.from_json_untrusted(body)
        assert answer == AuthAnswer(members.get("error", ""))
        assert answer.to_json() == body


@pytest.mark.parametrize("name", REQUESTS_WE_WOULD_WRITE)
def test_register_requests_are_written_as_recorded(name: str) -> None:
    [(body, members)] = [(body, members) for case, body, members in REGISTER_CASES if case == name]
    assert isinstance(members, dict)
    request = RegisterRequest.from_json_untrusted(body)
    assert str(request.gateway) == members["gateway"]
    assert request.key == members["key"]
    assert [str(network) for network in request.networks] == members["network"]
    assert request.unusable == 0
    assert request.to_json() == body


def register_case(name: str) -> RegisterRequest:
    [body] = [body for case, body, _ in REGISTER_CASES if case == name]
    return RegisterRequest.from_json_untrusted(body)


def test_odd_register_requests_are_read_as_the_originals_do() -> None:
    assert register_case("network_null_because_config_lacks_local_networks").networks == ()
    assert register_case("without_network").networks == ()
    assert register_case("without_key").key == ""
    assert register_case("without_gateway").gateway is None
    assert register_case("string_form").networks == (IPv4Network("192.168.12.0/24"),)
    assert register_case("host_bits_set").networks == (IPv4Network("192.168.16.0/24"),)
    assert register_case("empty_object") == RegisterRequest(None, "")
    bad = register_case("bad_cidr")
    assert bad.networks == (IPv4Network("192.168.17.0/24"),)
    assert bad.unusable == 1


@pytest.mark.parametrize("name", ["not_json", "empty_body"])
def test_a_register_body_that_is_not_json_is_a_bad_packet(name: str) -> None:
    with pytest.raises(BadPacket, match="not JSON"):
        register_case(name)


def test_register_answers_of_the_originals_are_understood() -> None:
    answers = {name: body for name, body, _ in REGISTER_CASES if name.startswith("reply")}
    assert RegisterAnswer.from_json_untrusted(answers["reply_ok"]) == RegisterAnswer()
    refused = RegisterAnswer.from_json_untrusted(answers["reply_error_for_not_json"])
    assert refused.error.startswith("invalid character 'o'")
    assert refused.to_json() == answers["reply_error_for_not_json"]


def test_what_the_real_gateway_sent_comes_out_of_our_encoders() -> None:
    auth = session_bodies("tls_session_client.json", "c2s", AUTH)
    assert b'{"key":"\\u003ca\\u0026b\\u003e \\"q\\" \\\\ \xc3\xa9"}' in auth
    for body in auth:
        assert AuthRequest.from_json_untrusted(body).to_json() == body
    register = session_bodies("tls_session_client.json", "c2s", REGISTER)
    assert register
    for body in register:
        again = RegisterRequest.from_json_untrusted(body).to_json()
        assert again == body.replace(b":null}", b":[]}")


def test_what_the_real_router_sent_comes_out_of_our_encoders() -> None:
    for body in session_bodies("tls_session_router.json", "s2c", AUTH):
        assert AuthAnswer.from_json_untrusted(body).to_json() == body
    bodies = session_bodies("tls_session_router.json", "s2c", REGISTER)
    assert b'{"error":"EOF"}' in bodies
    for body in bodies:
        assert RegisterAnswer.from_json_untrusted(body).to_json() == body


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"key":"123456"}garbage', "123456"),
        (b' { "zzz":[1,2] , "key" : "\\u0031\\u00323456" } ', "123456"),
        (b'\r\n\t{"key":"a"}\xff\xfe', "a"),
        (b'{"Key":"123456"}', ""),
        (b'{"key":123456}', ""),
        (b'{"key":null}', ""),
        (b'["123456"]', ""),
        (b'"123456"', ""),
        (b"{}", ""),
        (b'{"key":"a","key":"b"}', "b"),
        (b'{"key":"\xff"}', "\ufffd"),
        (b'{"key":"\\ud800"}', "\ufffd"),
        (b'{"key":"\\ud83d\\ude00"}', "\U0001f600"),
        (b'{"a":' + b"9" * 60000 + b',"key":"k"}', "k"),
        (b'{"a":' + b"9" * 60000 + b'.5,"key":"k"}', "k"),
    ],
)
def test_a_key_is_read_leniently(body: bytes, key: str) -> None:
    request = AuthRequest.from_json_untrusted(body)
    assert request.key == key
    request.key.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"hello",
        b"{",
        b'{"key":"a"',
        b'{"key":"a",}',
        b'{"key":"a\n"}',
        b'\xef\xbb\xbf{"key":"a"}',
        b'{"key":NaN}',
        b'{"key":-Infinity}',
        b"\xff{}",
        b"[" * 60000,
        b'{"a":' * 10000,
        b'{"key":"a","b":' + b"[" * 50000,
    ],
    ids=lambda body: repr(body[:16]),
)
@pytest.mark.parametrize("decode", DECODERS)
def test_what_is_not_json_is_a_bad_packet_without_the_secret(decode: Decoder, body: bytes) -> None:
    with pytest.raises(BadPacket) as caught:
        decode(body)
    assert caught.value.__cause__ is None
    assert '"a"' not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "networks", "unusable"),
    [
        (["bogus", 7, None, "192.168.50.0/24"], ["192.168.50.0/24"], 1),
        (["10.0.0.0/8", "10.0.0.0/8", "10.9.9.9/8"], ["10.0.0.0/8"], 0),
        (["fd00::1/8"], ["fd00::/8"], 0),
        (["10.0.0.0"], [], 1),
        (["10.0.0.0/255.0.0.0"], [], 1),
        (["10.0.0.0/33"], [], 1),
        (["010.0.0.0/8"], [], 1),
        (["fe80::%eth0/64"], [], 1),
        (["10.0.0.0/٨"], [], 1),
        (["10.0.0.0/8/8", "/", "/8"], [], 3),
        (["10.0.0.0/" + "8" * 6000], [], 1),
        ("", [], 0),
        (5, [], 0),
        ({"a": "10.0.0.0/8"}, [], 0),
        ([["10.0.0.0/8"]], [], 0),
        (True, [], 0),
    ],
)
def test_networks_are_read_as_go_would(entry: object, networks: list[str], unusable: int) -> None:
    body = json.dumps({"gateway": "10.8.0.2", "network": entry}).encode()
    request = RegisterRequest.from_json_untrusted(body)
    assert [str(network) for network in request.networks] == networks
    assert request.unusable == unusable


def test_unreadable_addresses_are_left_out_and_counted() -> None:
    body = b'{"gateway":"010.8.0.2","gateway6":"10.8.0.2"}'
    assert RegisterRequest.from_json_untrusted(body) == RegisterRequest(None, "", unusable=2)


def test_native_members_travel_only_when_given() -> None:
    assert AuthRequest("k").to_json() == b'{"key":"k"}'
    offer = NativeOffer(1, ("gso", "datagram", "gso"))
    assert offer.features == ("datagram", "gso")
    body = AuthRequest("k", offer).to_json()
    assert body == b'{"key":"k","native":{"features":["datagram","gso"],"version":1}}'
    assert AuthRequest.from_json_untrusted(body) == AuthRequest("k", offer)
    answer = AuthAnswer(native=NativeOffer())
    assert answer.to_json() == b'{"native":{"features":[],"version":1}}'
    assert AuthAnswer.from_json_untrusted(answer.to_json()) == answer


def test_a_second_address_travels_only_when_given() -> None:
    request = RegisterRequest(
        IPv4Address("10.8.0.2"), "k", (IPv6Network("fd00::/64"),), IPv6Address("fd08::2")
    )
    body = request.to_json()
    assert body == (
        b'{"gateway":"10.8.0.2","gateway6":"fd08::2","key":"k","network":["fd00::/64"]}'
    )
    assert RegisterRequest.from_json_untrusted(body) == request
    alone = RegisterRequest(None, "k", (), IPv6Address("fd08::2"))
    assert RegisterRequest.from_json_untrusted(alone.to_json()) == alone


@pytest.mark.parametrize(
    "native",
    [
        None,
        [],
        "1",
        {},
        {"version": "1"},
        {"version": True},
        {"version": 0},
        {"version": 1.0},
        {"version": 10**400},
        {"features": ["fec"]},
    ],
)
def test_a_malformed_offer_counts_as_none(native: object) -> None:
    body = json.dumps({"key": "k", "native": native}).encode()
    assert AuthRequest.from_json_untrusted(body) == AuthRequest("k")


def test_an_offer_is_bounded_and_cleaned() -> None:
    features = ["fec", 5, None, "", "x" * 65, "ä", *(f"f{n}" for n in range(200))]
    body = json.dumps({"native": {"version": 3, "features": features}}).encode()
    native = AuthRequest.from_json_untrusted(body).native
    assert native is not None
    assert native.version == 3
    assert len(native.features) == MAX_FEATURES - 5
    assert "fec" in native.features


def test_the_key_stays_out_of_every_repr() -> None:
    for holder in (AuthRequest("hush-hush"), RegisterRequest(None, "hush-hush")):
        assert "hush" not in repr(holder)


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode()))
def test_decoders_raise_only_bad_packet_on_junk(body: bytes) -> None:
    for decode in DECODERS:
        with contextlib.suppress(BadPacket):
            decode(body)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
MEMBERS = ("key", "error", "gateway", "gateway6", "network", "native")


@given(st.dictionaries(st.sampled_from(MEMBERS) | st.text(), json_values))
def test_decoders_accept_any_object_and_give_what_can_be_encoded(value: object) -> None:
    body = json.dumps(value).encode()
    for kind in (AuthRequest, AuthAnswer, RegisterRequest, RegisterAnswer):
        decoded = kind.from_json_untrusted(body)
        again = decoded.to_json()
        assert kind.from_json_untrusted(again).to_json() == again


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
networks = st.lists(
    st.builds(
        lambda address, length: IPv4Network((address, length), strict=False),
        st.integers(0, 2**32 - 1),
        st.integers(0, 32),
    )
    | st.builds(
        lambda address, length: IPv6Network((address, length), strict=False),
        st.integers(0, 2**128 - 1),
        st.integers(0, 128),
    ),
    unique=True,
    max_size=5,
)


@given(
    st.none() | st.ip_addresses(v=4),
    texts,
    networks.map(tuple),
    st.none() | st.ip_addresses(v=6),
    st.booleans(),
)
def test_register_requests_survive_the_way(
    gateway: IPv4Address | None,
    key: str,
    own: tuple[IPv4Network | IPv6Network, ...],
    gateway6: IPv6Address | None,
    takes_over: bool,
) -> None:
    request = RegisterRequest(gateway, key, own, gateway6, takes_over=takes_over)
    body = request.to_json()
    assert len(body) <= MAX_BODY
    assert not set("<>&\u2028\u2029") & set(body.decode())
    assert RegisterRequest.from_json_untrusted(body) == request


@given(texts, st.lists(st.sampled_from(["fec", "gso", "sack"])))
def test_auth_survives_the_way(text: str, features: list[str]) -> None:
    offer = NativeOffer(1, tuple(features))
    request = AuthRequest(text, offer)
    assert AuthRequest.from_json_untrusted(request.to_json()) == request
    answer = AuthAnswer(text, offer)
    assert AuthAnswer.from_json_untrusted(answer.to_json()) == answer


def test_a_login_by_proof_holds_the_sites_name_and_no_key() -> None:
    offer = NativeOffer(features=("gso",), name="berlin", proof=b"\xff" * 32)
    body = AuthRequest("", offer).to_json()
    proof = base64.b64encode(b"\xff" * 32).decode()
    assert json.loads(body) == {
        "key": "",
        "native": {"features": ["gso"], "name": "berlin", "proof": proof, "version": 1},
    }
    assert AuthRequest.from_json_untrusted(body) == AuthRequest("", offer)


@pytest.mark.parametrize("proof", ["*", "AAA", "A" * 132, "é", 7, None, [], "AAAA AAAA"])
def test_what_is_no_base64_is_no_proof(proof: object) -> None:
    body = json.dumps({"native": {"version": 1, "proof": proof, "name": 7}}).encode()
    assert AuthRequest.from_json_untrusted(body) == AuthRequest("", NativeOffer())
