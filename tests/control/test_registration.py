"""Who may say what, and when."""

from __future__ import annotations

import contextlib
import datetime
import json
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.control.authentication import Admitted, Authenticator, Denied
from polevpn_trio.control.registration import (
    Answer,
    End,
    Passed,
    Register,
    RouterSession,
    SessionState,
    agreed_features,
    features_over,
    takes_super_packets,
)
from polevpn_trio.errors import BadPacket
from polevpn_trio.frames import codec
from polevpn_trio.frames.messages import AuthRequest, NativeOffer
from tests.memory_links import IDENTITY

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
AUTHENTICATOR = Authenticator("secret")


def judge(request: AuthRequest) -> Admitted | Denied:
    return AUTHENTICATOR.judge_untrusted(request, IDENTITY, NOW)


def session(*, offer_native: bool = True) -> RouterSession:
    return RouterSession(judge, offer_native=offer_native)


def body(**members: object) -> bytes:
    return json.dumps(members).encode()


def logged_in(**members: object) -> RouterSession:
    one = session()
    one.receive_control_untrusted(codec.AUTH, 0, body(key="secret", **members))
    return one


def test_right_key_is_answered_with_the_sequence_of_the_request() -> None:
    one = session()
    assert one.receive_control_untrusted(codec.AUTH, 9, body(key="secret")) == [
        Answer(codec.build_frame(codec.AUTH, b"{}", 9))
    ]
    assert one.accepts_data
    assert one.native is None


@pytest.mark.parametrize(
    "wrong", [body(key="Secret"), body(key=""), body(), body(key=7), b"[]", b"3"]
)
def test_wrong_key_is_told_and_ends_the_connection(wrong: bytes) -> None:
    one = session()
    answer, end = one.receive_control_untrusted(codec.AUTH, 1, wrong)
    assert answer == Answer(codec.build_frame(codec.AUTH, b'{"error":"invalid key"}', 1))
    assert isinstance(end, End)
    assert end.reason == "invalid key"
    assert end.advice
    assert not one.accepts_data
    for command in (codec.AUTH, codec.REGISTER, codec.HEART_BEAT, codec.BARRIER):
        assert one.receive_control_untrusted(command, 0, body(key="secret")) == []
    assert not one.accepts_data


def test_one_of_ours_hears_in_a_refusal_that_it_need_not_try_the_classic_way() -> None:
    one = session()
    wrong = body(key="Secret", native={"version": 1, "features": ["ipv6"]})
    answer, _ = one.receive_control_untrusted(codec.AUTH, 0, wrong)
    assert isinstance(answer, Answer)
    assert json.loads(answer.frame[8:]) == {
        "error": "invalid key",
        "native": {"version": 1, "features": []},
    }


@pytest.mark.parametrize("command", [codec.REGISTER, codec.HEART_BEAT, 2, 5, 6, 99])
def test_anything_before_login_ends_the_connection_unanswered(command: int) -> None:
    one = session()
    with pytest.raises(BadPacket, match="expected AUTH"):
        one.receive_control_untrusted(command, 0, body(key="secret"))
    assert one.state is SessionState.CLOSED


def test_login_that_is_not_json_ends_the_connection_unanswered() -> None:
    one = session()
    with pytest.raises(BadPacket):
        one.receive_control_untrusted(codec.AUTH, 0, b"nonsense")
    assert one.state is SessionState.CLOSED


def test_native_features_are_those_of_both() -> None:
    one = session()
    (answer,) = one.receive_control_untrusted(
        codec.AUTH, 0, body(key="secret", native={"version": 1, "features": ["ipv6", "later"]})
    )
    assert isinstance(answer, Answer)
    assert json.loads(answer.frame[8:]) == {"native": {"version": 1, "features": ["ipv6"]}}
    assert one.native == frozenset({"ipv6"})


def test_a_stream_has_no_features_of_datagrams() -> None:
    features = ("gso", "datagram", "fec", "probe", "whole")
    assert features_over(True, features) == features
    assert features_over(False, features) == ("gso",)


@pytest.mark.parametrize(
    ("agreed", "taken"),
    [
        ((), False),
        (("datagram",), False),
        (("whole",), False),
        (("gso",), True),
        (("gso", "datagram"), False),
        (("gso", "datagram", "whole"), True),
    ],
)
def test_super_packets_go_where_they_stay_whole(agreed: tuple[str, ...], taken: bool) -> None:
    assert takes_super_packets(agreed) is taken


def test_a_feature_that_is_switched_off_is_not_agreed_on() -> None:
    one = RouterSession(judge, offer_native=True, features=["ipv6"])
    (answer,) = one.receive_control_untrusted(
        codec.AUTH, 0, body(key="secret", native={"version": 1, "features": ["gso", "ipv6"]})
    )
    assert isinstance(answer, Answer)
    assert json.loads(answer.frame[8:]) == {"native": {"version": 1, "features": ["ipv6"]}}
    assert one.native == frozenset({"ipv6"})


def test_native_is_not_offered_to_who_did_not_ask_or_when_switched_off() -> None:
    off = session(offer_native=False)
    (answer,) = off.receive_control_untrusted(
        codec.AUTH, 0, body(key="secret", native={"version": 1, "features": ["ipv6"]})
    )
    assert isinstance(answer, Answer)
    assert answer.frame[8:] == b"{}"
    assert off.native is None
    assert agreed_features(None) is None
    assert agreed_features(NativeOffer(7, ("ipv6",))) == frozenset({"ipv6"})


def test_heartbeat_is_answered_empty_with_its_sequence() -> None:
    assert logged_in().receive_control_untrusted(codec.HEART_BEAT, 77, b"noise") == [
        Answer(codec.build_frame(codec.HEART_BEAT, b"", 77))
    ]


def test_registration_carries_routes_and_the_answer_to_send_first() -> None:
    (action,) = logged_in().receive_control_untrusted(
        codec.REGISTER, 3, body(gateway="10.8.0.2", key="x", network=["192.168.1.0/24"])
    )
    assert isinstance(action, Register)
    assert action.request.gateway == ip_address("10.8.0.2")
    assert action.request.networks == (ip_network("192.168.1.0/24"),)
    assert action.answer.frame == codec.build_frame(codec.REGISTER, b"{}", 3)


def test_registration_that_is_not_json_is_told_and_the_connection_stays() -> None:
    one = logged_in()
    (answer,) = one.receive_control_untrusted(codec.REGISTER, 5, b"")
    assert isinstance(answer, Answer)
    error = json.loads(answer.frame[8:])["error"]
    assert error not in ("", "None")
    assert answer.frame == codec.build_frame(codec.REGISTER, answer.frame[8:], 5)
    assert one.accepts_data


@pytest.mark.parametrize("command", [0, 2, 5, 6, 9, 65535])
def test_other_commands_after_login_are_ignored(command: int) -> None:
    assert logged_in().receive_control_untrusted(command, 0, b"whatever") == []


logins = st.fixed_dictionaries(
    {"key": st.text(max_size=10).filter(lambda key: key != "secret") | st.none()},
    optional={"native": st.just({"version": 1, "features": ["gso"]})},
)


@given(
    frames=st.lists(
        st.tuples(
            st.just(codec.AUTH) | st.integers(0, 10),
            st.integers(0, 2**32 - 1),
            st.binary(max_size=40) | logins.map(lambda members: json.dumps(members).encode()),
        ),
        max_size=6,
    )
)
def test_nobody_gets_in_without_the_key(frames: list[tuple[int, int, bytes]]) -> None:
    one = session()
    for command, sequence, payload in frames:
        with contextlib.suppress(BadPacket):
            for action in one.receive_control_untrusted(command, sequence, payload):
                assert isinstance(action, Answer | End)
        assert not one.accepts_data
        assert one.native is None


@pytest.mark.parametrize("features", [["handover"], ["ipv6"]])
def test_a_barrier_is_answered_where_that_was_agreed_on(features: list[str]) -> None:
    one = session()
    one.receive_control_untrusted(
        codec.AUTH, 0, body(key="secret", native={"version": 1, "features": features})
    )
    answers = one.receive_control_untrusted(codec.BARRIER, 5, b"")
    passed = one.receive_control_untrusted(codec.BARRIER_PASSED, 0, b"")
    if features == ["handover"]:
        assert answers == [Answer(codec.build_frame(codec.BARRIER_PASSED, sequence=5))]
        assert passed == [Passed()]
    else:
        assert answers == passed == []
