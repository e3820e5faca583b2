"""What our own programs are told, as subjects of a benchmark."""

from __future__ import annotations

from bench.side_by_side.ours import Ours
from polevpn_trio.control.registration import FEATURES


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
