"""How nft's account of the rules is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.doctor.nft_ruleset import look_at_firewall, parse_ruleset

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["nftables", "chain", "rule", "family", "table", "name", "expr"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


def test_rules_stand_in_their_chains() -> None:
    head = {"family": "inet", "table": "filter"}
    text = json.dumps(
        {
            "nftables": [
                {"metainfo": {"version": "1.0.6"}},
                {"chain": {**head, "name": "in", "hook": "input", "policy": "drop"}},
                {"chain": {**head, "name": "mine"}},
                {"rule": {**head, "chain": "in", "expr": [{"accept": None}]}},
            ]
        }
    )
    first, second = parse_ruleset(text)
    assert (first.text, first.hook, first.policy) == ("inet filter in", "input", "drop")
    assert first.rules == (({"accept": None},),)
    assert (second.hook, second.rules) == ("", ())


@given(JSON)
def test_an_answer_of_another_kind_raises_what_is_promised(value: object) -> None:
    try:
        parse_ruleset(json.dumps(value))
    except (ValueError, KeyError, TypeError, AttributeError):
        return


def fake_nft(folder: Path, script: str) -> None:
    file = folder / "nft"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "nft is not installed"),
        ("echo not permitted >&2; exit 1", "nft refuses: not permitted"),
        ("exit 1", "nft refuses: no reason"),
        ("echo nonsense", "nft's answer cannot be read"),
        ("echo '[]'", "nft's answer cannot be read"),
    ],
)
def test_why_the_rules_are_not_known_is_told(
    script: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script is not None:
        fake_nft(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = look_at_firewall()
    assert facts.chains == ()
    assert facts.unread.startswith(reason)
