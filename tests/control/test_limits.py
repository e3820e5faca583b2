"""The ``limits`` section, and what a registration may hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from polevpn_trio.control.authentication import Admitted
from polevpn_trio.control.limits import KEYS, Limits, read_limits
from polevpn_trio.control.members import Members, Report
from polevpn_trio.control.registration import Refusal, Register, RouterSession
from polevpn_trio.errors import ConfigError
from polevpn_trio.frames import codec
from polevpn_trio.frames.messages import RegisterAnswer


def read(**members: Any) -> Limits:
    report = Report(Path("router.json"))
    found = read_limits(Members(report, "", {"limits": members}, ("limits",)))
    report.finish()
    return found


def test_every_limit_has_a_key_and_a_default_within_its_bounds() -> None:
    assert set(KEYS) == {field.name for field in attrs.fields(Limits)}
    assert read(**attrs.asdict(Limits())) == Limits()
    report = Report(Path("router.json"))
    assert read_limits(Members(report, "", {}, ("limits",))) == Limits()


def test_each_limit_is_read() -> None:
    changed = {name: getattr(Limits(), name) - 1 for name in KEYS}
    assert attrs.asdict(read(**changed)) == changed


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "many", 10**9, None])
def test_what_is_no_limit_is_one_line(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"router.json: limits.{name}: ")
    assert "expected a whole number from" in message
    assert "\n" not in message


def test_an_unknown_limit_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r'limits.handshakes: unknown key, did you mean "hand'):
        read(handshakes=5)


def session(**limits: int) -> RouterSession:
    made = RouterSession(lambda _: Admitted(), offer_native=True, limits=Limits(**limits))
    made.receive_control_untrusted(codec.AUTH, 1, b'{"key": "secret"}')
    return made


def registration(gateway: int, *networks: int) -> bytes:
    members = {
        "gateway": f"10.8.0.{gateway}",
        "network": [f"192.168.{number}.0/24" for number in networks],
    }
    return json.dumps(members).encode()


def test_a_connection_registers_so_much_in_all_and_the_same_again() -> None:
    site = session(registered=4)
    for body in (registration(1, 1, 2), registration(1, 1, 2), registration(1, 3)):
        [registered] = site.receive_control_untrusted(codec.REGISTER, 1, body)
        assert isinstance(registered, Register)
    [refused] = site.receive_control_untrusted(codec.REGISTER, 7, registration(1, 4))
    assert isinstance(refused, Refusal)
    assert refused.limit == "registered"
    assert refused.reason == "5 addresses and networks, at most 4 are taken"
    assert json.loads(refused.frame[codec.HEADER_SIZE :]) == {"error": refused.reason}
    answer = RegisterAnswer(refused.reason).to_json()
    assert refused.frame == codec.build_frame(codec.REGISTER, answer, 7)
    # What it has stays, and it may say so again.
    [registered] = site.receive_control_untrusted(codec.REGISTER, 8, registration(1, 3))
    assert isinstance(registered, Register)


def test_a_long_registration_is_refused_unread() -> None:
    site = session(registration_bytes=300)
    body = registration(1, 1)
    [registered] = site.receive_control_untrusted(
        codec.REGISTER, 1, body + b" " * (300 - len(body))
    )
    assert isinstance(registered, Register)
    [refused] = site.receive_control_untrusted(codec.REGISTER, 1, b"[" * 301)
    assert isinstance(refused, Refusal)
    assert refused.limit == "registration_bytes"
    assert refused.reason == "a registration of 301 bytes, at most 300 are taken"
