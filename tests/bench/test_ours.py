"""What our own programs are told, as subjects of a benchmark."""

from __future__ import annotations

import json
from pathlib import Path

from bench.side_by_side.ours import RULES, Ours
from polevpn_trio.control.config import parse_router
from polevpn_trio.control.registration import FEATURES
from tests.conftest import Certificates


def test_a_subject_is_named_after_what_it_does_without() -> None:
    assert Ours("kcp").name == "kcp"
    assert Ours("kcp", native=False).name == "kcp-classic"
    assert Ours("kcp", without=("fec", "sack")).name == "kcp-no-fec-no-sack"
    assert "without fec, sack" in Ours("kcp", without=("fec", "sack")).description


def test_only_features_that_this_version_has_are_switched_off() -> None:
    assert Ours("kcp").native_key() is True
    assert Ours("kcp", native=False).native_key() is False
    assert Ours("kcp", without=("no such feature",)).native_key() is True
    assert Ours("kcp", without=(FEATURES[0], "x")).native_key() == {FEATURES[0]: False}


def test_a_policy_has_as_many_rules_as_the_subject_says(certificates: Certificates) -> None:
    subject = Ours("tls", rules=RULES)
    assert subject.name == "tls-100-rules"
    files = {
        "cert_file": str(certificates.ecdsa.cert_file),
        "key_file": str(certificates.ecdsa.key_file),
    }
    values = {"key": "k", "tls": {"listen": ":443", **files}, **subject.policy()}
    config = parse_router(Path("router.json"), json.dumps(values))
    assert config.policy is not None
    assert len(config.policy.rules) == RULES
    assert Ours("tls").policy() == {}
