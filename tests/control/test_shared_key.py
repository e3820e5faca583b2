"""Several shared keys, while one is replaced by another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polevpn_trio.control.config import load_gateway, load_router
from polevpn_trio.control.shared_key import EXAMPLE_KEY, MAX_KEY, MAX_KEYS, SHORT_KEY
from polevpn_trio.errors import ConfigError


@pytest.fixture
def router(tmp_path: Path, certificates: Any) -> Any:
    listener = {
        "listen": ":443",
        "cert_file": str(certificates.rsa.cert_file),
        "key_file": str(certificates.rsa.key_file),
    }

    def write(key: object, **values: object) -> Path:
        file = tmp_path / "router.json"
        file.write_text(json.dumps({"tls": listener, "key": key, **values}))
        file.chmod(0o600)
        return file

    return write


def problems(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_router(file)
    return [str(caught.value), *getattr(caught.value, "__notes__", ())]


def test_the_first_of_a_list_is_the_key_and_the_others_are_taken_too(router: Any) -> None:
    config = load_router(router(["a long new key", "a long old key"]))
    assert (config.key, config.other_keys) == ("a long new key", ("a long old key",))
    alone = load_router(router("a long new key"))
    assert (alone.key, alone.other_keys) == ("a long new key", ())


def test_keys_that_let_nobody_in_are_none(router: Any) -> None:
    site = {"certificate": "sha256:" + "ab" * 32, "addresses": ["10.8.0.2"]}
    config = load_router(router(["a long new key", "a long old key"], gateways={"berlin": site}))
    assert (config.key, config.other_keys) == ("", ())


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ([], "key: an empty list, expected the shared key as a string, or a list of them"),
        (["a long new key", ""], "key[1]: empty, expected a shared key"),
        (["a long new key", 7], "key[1]: a number, expected a string"),
        (["a long new key"] * (MAX_KEYS + 1), f"key: 9 keys, expected at most {MAX_KEYS}"),
        ("ä" * (MAX_KEY // 2) + "a", f"key: {MAX_KEY + 1} bytes long, expected at most {MAX_KEY}"),
        ("half a \ud800 pair", "key: holds half of a surrogate pair, expected Unicode"),
    ],
)
def test_mistakes_in_a_list_of_keys_are_named_without_a_key(
    router: Any, key: object, expected: str
) -> None:
    [problem] = problems(router(key))
    assert expected in problem
    assert "a long" not in problem


def test_each_short_key_is_warned_of(router: Any) -> None:
    warnings = load_router(router(["a long new key", "short"])).warnings
    assert "key[1]: shorter than 8 characters, which is easy to guess" in warnings
    assert not any(warning.startswith("key[0]") for warning in warnings)


def test_a_key_may_be_as_long_as_fits_and_one_that_all_know_is_warned_of(router: Any) -> None:
    assert load_router(router("a" * MAX_KEY)).key == "a" * MAX_KEY
    assert "key: " not in "".join(load_router(router("a" * SHORT_KEY)).warnings)
    said = "".join(load_router(router(EXAMPLE_KEY)).warnings)
    assert "key: still the one of the example file" in said


def test_a_gateway_has_one_key(tmp_path: Path) -> None:
    file = tmp_path / "gateway.json"
    values = {"route_server": "kcp://203.0.113.5", "key": ["a", "b"], "gateway": "10.8.0.2"}
    file.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="key: a list, expected the shared key as a string"):
        load_gateway(file)


@pytest.mark.parametrize(
    ("changes", "secret"),
    [
        ({}, False),
        ({"tls": {"websocket_path": "/not-to-be-guessed"}}, True),
        (
            {
                "gateways": {
                    "berlin": {"certificate": "sha256:" + "ab" * 32, "addresses": ["10.8.0.2"]}
                }
            },
            True,
        ),
    ],
)
def test_a_file_that_all_may_read_draws_a_warning_if_there_is_a_secret_in_it(
    changes: dict[str, Any], secret: bool, tmp_path: Path, certificates: Any
) -> None:
    (tmp_path / "sites").mkdir()
    listener = {
        "listen": ":443",
        "cert_file": str(certificates.rsa.cert_file),
        "key_file": str(certificates.rsa.key_file),
        **changes.get("tls", {}),
    }
    values = {"gateways_directory": "sites", **changes, "tls": listener}
    file = tmp_path / "router.json"
    file.write_text(json.dumps(values))
    file.chmod(0o644)
    warnings = load_router(file).warnings
    assert any(text.startswith("this file can be read") for text in warnings) == secret
