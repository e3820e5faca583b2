"""``keys``: what it writes, prints and refuses; and that a router and a gateway agree on it."""

from __future__ import annotations

import datetime
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from polevpn_trio.__main__ import main
from polevpn_trio.control.authentication import Admitted, Authenticator, Denied
from polevpn_trio.control.config import GatewayConfig, load_router, parse_gateway
from polevpn_trio.control.join_string import read_join_string
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.session_identity import SessionIdentity
from polevpn_trio.frames.messages import AuthRequest, NativeOffer
from polevpn_trio.lab.overlay import python_path

Capture = pytest.CaptureFixture[str]
IDENTITY = SessionIdentity(bytes(32), bytes([1]) * 32)
PATIENCE = 60
"""Seconds after which a child process counts as stuck."""

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
ROUTER = {
    "tls": {"listen": ":443", "cert_file": "server.crt", "key_file": "server.key"},
    "gateways_directory": "sites",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Path:
    """Where a router's certificate and configuration are."""
    monkeypatch.chdir(tmp_path)
    assert main(["keys", "router", "--name", "vpn.example.org"]) == 0
    write(ROUTER)
    capsys.readouterr()
    return tmp_path


def write(values: object, file: str = "router.json") -> None:
    Path(file).write_text(values if isinstance(values, str) else json.dumps(values))
    Path(file).chmod(0o600)


def keys(capsys: Capture, *words: str) -> tuple[str, str]:
    """Give stdout and stderr of what has to go well."""
    capsys.readouterr()
    status = main(["keys", *words])
    said = capsys.readouterr()
    assert status == 0, said.err
    return said.out, said.err


def refused(capsys: Capture, *words: str, status: int = 2) -> str:
    """Give the one line of what has to be refused."""
    capsys.readouterr()
    assert main(["keys", *words]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    return said.err.strip()


def told(line: str) -> GatewayConfig:
    return parse_gateway(Path("gateway.json"), json.dumps(read_join_string(line)))


def login(config: GatewayConfig) -> Admitted | Denied:
    """Log in at the router as its files are now."""
    proof = SiteKey.derive(config.key, config.name).prove(IDENTITY)
    request = AuthRequest("", native=NativeOffer(1, (), name=config.name, proof=proof))
    judge = Authenticator("", load_router("router.json").sites)
    return judge.judge_untrusted(request, IDENTITY, NOW)


def mode(file: str) -> int:
    return stat.S_IMODE(Path(file).stat().st_mode)


# --- Certificates


def test_a_routers_pair_suits_its_configuration_and_the_key_is_private(folder: Path) -> None:
    assert (mode("server.crt"), mode("server.key")) == (0o644, 0o600)
    Path("sites").mkdir()
    config = load_router("router.json")
    assert config.tls is not None
    assert config.warnings == ()


def test_it_says_what_to_write_where(tmp_path: Path, capsys: Capture) -> None:
    out, _ = keys(capsys, "router", "--directory", str(tmp_path), "--days", "30")
    assert f'"cert_file": "{tmp_path}/server.crt",\n' in out
    assert f'"key_file": "{tmp_path}/server.key"\n' in out
    fingerprint, _ = keys(capsys, "fingerprint", f"{tmp_path}/server.crt")
    assert f'"verify_router": "{fingerprint.strip()}"' in out
    assert "localhost" in out


def test_a_pair_that_is_there_stays_unless_it_is_forced(folder: Path, capsys: Capture) -> None:
    Path("sites").mkdir()
    before = Path("server.crt").read_bytes()
    assert refused(capsys, "router") == (
        "server.crt: is there already, expected --force to replace it"
    )
    Path("server.crt").unlink()
    assert refused(capsys, "router").startswith("server.key: is there already")
    assert not Path("server.crt").exists()
    keys(capsys, "router", "--force")
    assert Path("server.crt").read_bytes() != before
    assert load_router("router.json").warnings == ()


def test_a_directory_that_is_not_there_is_named(folder: Path, capsys: Capture) -> None:
    line = refused(capsys, "router", "--directory", "none", status=1)
    assert line == (
        "polevpn-trio: none/server.crt cannot be written: No such file or directory; "
        "what to do: make its folder, or let this user write there"
    )


@pytest.mark.parametrize(
    "words", [("--name", "a b"), ("--name", "fe80::1%eth0"), ("--days", "0"), ("--days", "x")]
)
def test_names_and_days_that_cannot_be_are_refused(words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["keys", "router", *words])
    assert caught.value.code == 2


def test_a_file_without_a_certificate_has_no_fingerprint(folder: Path, capsys: Capture) -> None:
    line = refused(capsys, "fingerprint", "server.key")
    assert line.startswith("server.key: holds a private key")
    assert refused(capsys, "fingerprint", "none").startswith("none: cannot be read")


# --- New sites


def test_a_new_sites_gateway_is_let_in_and_may_register_its_own(
    folder: Path, capsys: Capture
) -> None:
    out, err = keys(capsys, "site", "berlin", "--network", "192.168.1.0/24")
    config = told(out)
    assert config.name == "berlin"
    assert [server.text for server in config.servers] == ["tls://vpn.example.org:443"]
    assert mode("sites") == 0o700
    assert mode("sites/berlin.json") == 0o600
    assert config.key not in Path("sites/berlin.json").read_text() + err
    admitted = login(config)
    assert isinstance(admitted, Admitted)
    assert admitted.site is not None
    assert config.site.gateway is not None
    assert admitted.site.refuses([config.site.gateway], config.site.local_networks) == ""


def test_stdout_has_the_join_string_and_nothing_else(folder: Path, capsys: Capture) -> None:
    out, err = keys(capsys, "site", "berlin")
    assert out.startswith("polevpn://v1/")
    assert len(out.splitlines()) == 1
    assert "polevpn://" not in err


def test_sites_get_addresses_of_their_own_and_know_those_before_them(
    folder: Path, capsys: Capture
) -> None:
    first, _ = keys(capsys, "site", "berlin", "--network", "192.168.1.0/24")
    second, _ = keys(
        capsys, "site", "paris", "--network", "192.168.2.0/24", "--address6", "fd08::3",
        "--address", "10.8.0.9", "--route", "172.16.0.0/12", "--server", "203.0.113.5",
    )  # fmt: skip
    third, _ = keys(capsys, "site", "rome", "--address6", "fd08::4")
    assert str(told(first).site.gateway) == "10.8.0.2"
    config = told(second)
    assert (str(config.site.gateway), str(config.site.gateway6)) == ("10.8.0.9", "fd08::3")
    assert [server.text for server in config.servers] == ["tls://203.0.113.5:443"]
    assert {*map(str, config.site.route_networks)} == {
        "172.16.0.0/12", "10.8.0.0/24", "fd08::/64", "192.168.1.0/24"
    }  # fmt: skip
    assert told(third).site.gateway is None


def test_sites_that_are_made_at_once_get_addresses_of_their_own(folder: Path) -> None:
    names = ("berlin", "paris", "rome")
    command = [sys.executable, "-m", "polevpn_trio", "keys", "site"]
    running = [
        subprocess.Popen(
            [*command, name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **python_path()},
        )
        for name in names
    ]
    assert [process.wait(PATIENCE) for process in running] == [0, 0, 0]
    sites = load_router("router.json").sites
    assert sites is not None
    assert set(sites) == set(names)


def test_a_site_may_end_on_a_day(folder: Path, capsys: Capture) -> None:
    out, _ = keys(capsys, "site", "berlin", "--expires", "2026-05-31")
    assert login(told(out)) == Denied(
        "site berlin is expired on 2026-06-01 00:00 UTC",
        "berlin is expired on 2026-06-01 00:00 UTC",
    )


def test_a_network_that_two_sites_have_is_noted(folder: Path, capsys: Capture) -> None:
    keys(capsys, "site", "berlin", "--network", "192.168.1.0/24")
    _, err = keys(capsys, "site", "paris", "--network", "192.168.1.0/24")
    assert "note: 192.168.1.0/24 is a network of berlin, too" in err


def test_an_authoritys_certificate_is_pinned_with_a_note(folder: Path, capsys: Capture) -> None:
    assert "authority" not in keys(capsys, "site", "berlin")[1]
    key = ec.generate_private_key(ec.SECP256R1())
    subject, issuer = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("a.example", "CA")
    )
    now = datetime.datetime.now(datetime.UTC)
    issued = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=90))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    Path("server.crt").write_bytes(issued.public_bytes(encoding))
    Path("server.key").write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    _, err = keys(capsys, "site", "paris", "--server", "a.example")
    assert "before an authority issues the next one, tell it" in err


def test_a_site_that_could_not_reach_the_router_is_told_of(folder: Path, capsys: Capture) -> None:
    write({**ROUTER, "tls": {**ROUTER["tls"], "listen": "127.0.0.1:443"}})  # type: ignore[dict-item]
    out, err = keys(capsys, "site", "paris")
    assert out.startswith("polevpn://v1/")
    assert 'note: "tls" listens on 127.0.0.1, where no other machine reaches it' in err
    _, err = keys(capsys, "site", "oslo", "--server", "127.0.0.1")
    assert "note: tls://127.0.0.1:443 leads to the gateway's own machine" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("berlin",), "sites/berlin.json: site berlin is there already"),
        (("a/b",), 'keys site: "a/b" cannot be a site\'s name'),
        (("",), 'keys site: "" cannot be a site\'s name'),
        (("paris", "--address", "10.8.0.2"), "10.8.0.2 of paris is that of berlin"),
        (("paris", "--address", "10.8.0.1"), "router.json: site: has 10.8.0.1 itself"),
        (("paris", "--address", "10.8.0.300"), "--address: "),
        (("paris", "--address6", "fe80::1"), "--address: "),
        (("paris", "--network", "192.168.1.1/24"), "sites/paris.json: networks[0]: "),
        (("paris", "--route", "192.168.1.1/24"), "--route: "),
        (("paris", "--route", "10.0.0.0/8", "--route", "10.1.0.0/16"), "join string: route_net"),
        (("paris", "--server", "http://x"), "--server: "),
        (("paris", "--expires", "soon"), "sites/paris.json: expires: "),
        (("paris", "--config", "none.json"), "none.json: cannot be read"),
    ],
)
def test_a_site_that_cannot_be_is_refused_and_nothing_written(
    folder: Path, capsys: Capture, words: tuple[str, ...], expected: str
) -> None:
    write({**ROUTER, "site": {"gateway": "10.8.0.1"}})
    keys(capsys, "site", "berlin")
    before = Path("sites/berlin.json").read_text()
    assert expected in refused(capsys, "site", *words)
    assert [file.name for file in Path("sites").iterdir()] == ["berlin.json"]
    assert Path("sites/berlin.json").read_text() == before


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"tls": ROUTER["tls"], "key": "k" * 20}, "router.json: gateways_directory: missing"),
        ({**ROUTER, "gateways_directory": ""}, "router.json: gateways_directory: missing"),
        ({**ROUTER, "gateways_directory": "a/b"}, "polevpn-trio: a/b cannot be written: No such"),
        ("{", "router.json: line 1"),
    ],
)
def test_a_router_without_a_place_for_sites_is_told_what_to_write(
    folder: Path, capsys: Capture, config: object, expected: str
) -> None:
    write(config)
    line = refused(capsys, "site", "berlin", status=1 if "polevpn-trio:" in expected else 2)
    assert line.startswith(expected)


def test_without_a_configuration_the_names_that_were_tried_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, "list").startswith("router.json: neither this file nor config.json")


def test_files_that_others_can_read_draw_a_warning(folder: Path, capsys: Capture) -> None:
    keys(capsys, "site", "berlin")
    Path("sites/berlin.json").chmod(0o644)
    _, err = keys(capsys, "list")
    assert "berlin.json can be read by every user of this machine (chmod o-r)" in err


# --- Known sites


def test_a_revoked_site_is_refused(folder: Path, capsys: Capture) -> None:
    out, _ = keys(capsys, "site", "berlin")
    _, err = keys(capsys, "revoke", "berlin")
    assert 'berlin is "disabled"' in err
    denied = login(told(out))
    assert isinstance(denied, Denied)
    assert denied.reason == "berlin is disabled"
    assert mode("sites/berlin.json") == 0o600


def test_a_renewed_site_has_two_keys_until_the_old_one_is_dropped(
    folder: Path, capsys: Capture
) -> None:
    words = ("--network", "192.168.1.0/24", "--address6", "fd08::2", "--address", "10.8.0.7")
    old, _ = keys(capsys, "site", "berlin", *words)
    new, _ = keys(capsys, "renew", "berlin")
    assert told(old).key != told(new).key
    assert told(old).site == told(new).site
    assert [isinstance(login(told(each)), Admitted) for each in (old, new)] == [True, True]
    assert "2 keys" in keys(capsys, "list")[0]
    keys(capsys, "drop-old", "berlin")
    assert [isinstance(login(told(each)), Admitted) for each in (old, new)] == [False, True]
    assert "one key at most" in refused(capsys, "drop-old", "berlin")


def test_sites_are_listed_with_their_state(folder: Path, capsys: Capture) -> None:
    keys(capsys, "site", "berlin", "--network", "192.168.1.0/24")
    _, err = keys(capsys, "site", "paris", "--expires", "2020-01-01")
    assert "note: paris is not let in: expired on 2020-01-02 00:00 UTC" in err
    keys(capsys, "site", "rome", "--expires", "2999-12-31")
    keys(capsys, "site", "oslo")
    keys(capsys, "revoke", "oslo")
    out, _ = keys(capsys, "list")
    lines = [line.split("  ") for line in out.splitlines()]
    states = {line[0].strip(): [word.strip() for word in line if word][1] for line in lines}
    assert states == {
        "site": "state",
        "berlin": "good",
        "oslo": "disabled",
        "paris": "expired on 2020-01-02 00:00 UTC",
        "rome": "until 3000-01-01 00:00",
    }
    only, _ = keys(capsys, "list", "berlin")
    assert len(only.splitlines()) == 2
    assert "10.8.0.2, 192.168.1.0/24" in only


def test_programs_get_the_list_as_json_without_secrets(folder: Path, capsys: Capture) -> None:
    keys(capsys, "site", "berlin", "--network", "192.168.1.0/24", "--expires", "2999-12-31")
    keys(capsys, "site", "oslo")
    keys(capsys, "revoke", "oslo")
    out, _ = keys(capsys, "list", "--json")
    berlin, oslo = json.loads(out)
    assert berlin == {
        "name": "berlin",
        "closed_because": "",
        "expires": "3000-01-01T00:00:00+00:00",
        "keys": 1,
        "certificates": [],
        "addresses": ["10.8.0.2"],
        "networks": ["192.168.1.0/24"],
        "priority": 100,
        "rate_limit": None,
        "source_check": True,
        "file": str(Path("sites/berlin.json")),
    }
    assert (oslo["name"], oslo["closed_because"], oslo["expires"]) == ("oslo", "disabled", None)
    assert [each["name"] for each in json.loads(keys(capsys, "list", "oslo", "--json")[0])] == [
        "oslo"
    ]
    assert json.loads(Path("sites/berlin.json").read_text())["key_hash"] not in out


@pytest.mark.parametrize("what", ["revoke", "renew", "drop-old", "list"])
def test_an_unknown_site_is_named(folder: Path, capsys: Capture, what: str) -> None:
    keys(capsys, "site", "berlin")
    assert refused(capsys, what, "paris") == (
        'router.json: no site "paris" is known, see `keys list`'
    )


@pytest.mark.parametrize("what", ["revoke", "renew", "drop-old"])
def test_what_people_wrote_by_hand_is_theirs_to_change(
    folder: Path, capsys: Capture, what: str
) -> None:
    keys(capsys, "site", "paris")
    values = json.loads(Path("sites/paris.json").read_text())
    write({**ROUTER, "gateways": {"berlin": {**values, "addresses": ["10.8.0.9"]}}})
    assert refused(capsys, what, "berlin").startswith("router.json: gateways.berlin: stands here")
    text = Path("sites/paris.json").read_text().replace("{", "{ // ours\n", 1)
    write(text, "sites/paris.json")
    assert "holds comments, which would be lost" in refused(capsys, what, "paris")
    assert Path("sites/paris.json").read_text() == text


def test_a_site_known_by_its_certificate_has_no_key_to_renew(folder: Path, capsys: Capture) -> None:
    Path("sites").mkdir()
    values: dict[str, Any] = {"certificate": "sha256:" + "ab" * 32, "addresses": ["10.8.0.2"]}
    write(values, "sites/berlin.json")
    assert "known by its certificate" in refused(capsys, "renew", "berlin")
    assert "certificate" in keys(capsys, "list")[0]
