"""The sites that a router knows, read from its file and from files of their own."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from polevpn_trio.control import site_directory
from polevpn_trio.control.config import load_router
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.site_directory import KnownSite, SiteDirectory, parse_site
from polevpn_trio.errors import ConfigError

HASH = str(SiteKey.derive("a key", "berlin").verifier)
PRINT = "sha256:" + "ab" * 32
SITE: dict[str, Any] = {"key_hash": HASH, "addresses": ["10.8.0.2"]}


@pytest.fixture
def folder(tmp_path: Path, certificates: Any) -> Path:
    for suffix in ("crt", "key"):
        source = certificates.ecdsa.cert_file if suffix == "crt" else certificates.ecdsa.key_file
        (tmp_path / f"server.{suffix}").write_bytes(source.read_bytes())
        (tmp_path / f"server.{suffix}").chmod(0o600)
    (tmp_path / "sites").mkdir()
    return tmp_path


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def write(file: Path, values: object) -> Path:
    file.write_text(values if isinstance(values, str) else json.dumps(values))
    file.chmod(0o600)
    return file


def router(folder: Path, **values: Any) -> Path:
    listener = {"listen": ":443", "cert_file": "server.crt", "key_file": "server.key"}
    return write(folder / "router.json", {"kcp": listener, **values})


def sites(file: Path) -> SiteDirectory:
    found = load_router(file).sites
    assert found is not None
    return found


def mistakes(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_router(file)
    lines = [str(caught.value), *getattr(caught.value, "__notes__", ())]
    return [line.replace(f"{file.parent}/", "") for line in lines]


def test_sites_stand_in_the_routers_file_and_in_files_of_their_own(folder: Path) -> None:
    write(
        folder / "sites" / "paris.json",
        """{
            "certificate": ["OLD", "NEW"],    // one after the other
            "addresses": ["10.8.0.3", "fd08::3"],
            "networks": ["192.168.2.0/24", "fd00:2::/64"],
            "disabled": true,
            "expires": "2027-06-30"
        }""".replace("OLD", PRINT).replace("NEW", PRINT.replace("ab", "cd")),
    )
    write(folder / "sites" / "notes.txt", "not a site")
    file = router(folder, gateways={"berlin": SITE}, gateways_directory="sites")
    config = load_router(file)
    assert config.key == ""
    assert config.classic is False
    found = sites(file)
    assert set(found) == {"berlin", "paris"}
    assert found["berlin"] == KnownSite(
        "berlin",
        file,
        verifiers=(SiteKey.derive("a key", "berlin").verifier,),
        addresses=frozenset({ip_address("10.8.0.2")}),
    )
    paris = found["paris"]
    assert paris.certificates == (b"\xab" * 32, b"\xcd" * 32)
    assert paris.addresses == {ip_address("10.8.0.3"), ip_address("fd08::3")}
    assert paris.networks == (ip_network("192.168.2.0/24"), ip_network("fd00:2::/64"))
    assert paris.disabled
    assert paris.expires == datetime.datetime(2027, 7, 1, tzinfo=datetime.UTC)
    assert found.knows_certificates
    assert not SiteDirectory({"berlin": found["berlin"]}).knows_certificates


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2027-06-30", datetime.datetime(2027, 7, 1, tzinfo=datetime.UTC)),
        ("2027-06-30T18:00Z", datetime.datetime(2027, 6, 30, 18, tzinfo=datetime.UTC)),
        ("2027-06-30T18:00+02:00", datetime.datetime(2027, 6, 30, 16, tzinfo=datetime.UTC)),
        ("2027-06-30T18:00:00", datetime.datetime(2027, 6, 30, 18, tzinfo=datetime.UTC)),
    ],
)
@pytest.mark.usefixtures("far_from_greenwich")
def test_an_end_is_a_last_day_or_a_time(
    text: str, expected: datetime.datetime, folder: Path
) -> None:
    file = router(folder, gateways={"berlin": {**SITE, "expires": text}})
    assert sites(file)["berlin"].expires == expected


def test_a_rate_is_limited_only_where_that_is_said(folder: Path) -> None:
    limits = {"none": None, "least": 1, "most": site_directory.MOST_MEGABITS}
    given = {
        name: {**SITE, "addresses": [f"10.8.0.{number}"]}
        | ({} if limit is None else {"rate_limit": limit})
        for number, (name, limit) in enumerate(limits.items(), 2)
    }
    found = sites(router(folder, gateways=given))
    assert {name: found[name].rate_limit for name in limits} == limits


def test_sites_that_are_no_object_are_told(folder: Path) -> None:
    [line] = mistakes(router(folder, gateways=[SITE]))
    assert line == "router.json: gateways: a list, expected an object with a site under each name"


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        (7, "gateways.berlin: a number, expected an object with the keys key_hash, "),
        ({"addresses": []}, "gateways.berlin.key_hash: missing, expected it, or certificate, or"),
        ({"key_hash": HASH}, "gateways.berlin.addresses: missing, expected a list of addresses"),
        ({**SITE, "key_hash": "a key"}, "gateways.berlin.key_hash: no hash of a key, expected"),
        ({**SITE, "key_hash": []}, "gateways.berlin.key_hash: an empty list, expected"),
        ({**SITE, "certificate": "x"}, 'gateways.berlin.certificate: "x", expected'),
        ({**SITE, "addresses": ["10.8.0"]}, 'gateways.berlin.addresses[0]: "10.8.0" is no'),
        ({**SITE, "addresses": ["fd08::/64"]}, "gateways.berlin.addresses[0]: "),
        ({**SITE, "networks": ["10.8.0.1/24"]}, "gateways.berlin.networks[0]: "),
        ({**SITE, "disabled": 1}, "gateways.berlin.disabled: a number, expected true or false"),
        ({**SITE, "expires": "soon"}, 'gateways.berlin.expires: "soon", expected a date such as'),
        ({**SITE, "expires": "2027-02-30"}, 'gateways.berlin.expires: "2027-02-30", expected'),
        ({**SITE, "expires": 2027}, "gateways.berlin.expires: a number, expected a date"),
        (
            {**SITE, "rate_limit": 0},
            "gateways.berlin.rate_limit: 0, expected a whole number from 1 to 100000 (Mbit/s)",
        ),
        ({**SITE, "key": "x"}, "gateways.berlin.key: unknown key, "),
    ],
)
def test_each_mistake_of_a_site_is_one_line(site: object, expected: str, folder: Path) -> None:
    [line] = mistakes(router(folder, gateways={"berlin": site}))
    assert line.startswith(f"router.json: {expected}")
    assert "a key" not in line.replace("hash of a key", "")


@pytest.mark.parametrize("name", ["", ".", "a/b", "-a", "ä", "x" * 64, "a b"])
def test_other_names_cannot_be_used(name: str, folder: Path) -> None:
    [line] = mistakes(router(folder, gateways={name: SITE}))
    assert "cannot be a site's name" in line


def test_mistakes_in_a_sites_file_name_that_file(folder: Path) -> None:
    write(folder / "sites" / "berlin.json", "{")
    write(folder / "sites" / "a b.json", SITE)
    write(folder / "sites" / "paris.json", {**SITE, "mtu": 9})
    write(folder / "sites" / "rome.json", SITE)
    lines = mistakes(router(folder, gateways={"rome": SITE}, gateways_directory="sites"))
    assert [line.partition(":")[0] for line in lines] == [
        "sites/a b.json",
        "sites/berlin.json",
        "sites/paris.json",
        "sites/rome.json",
        "sites/paris.json",
    ]
    assert "10.8.0.2 of paris is that of rome" in lines[-1]


@pytest.mark.parametrize("value", ["", "none", 7])
def test_a_directory_that_is_none_is_told(value: object, folder: Path) -> None:
    [line] = mistakes(router(folder, gateways_directory=value))
    assert line.startswith("router.json: gateways_directory: ")


def test_a_site_that_is_to_be_is_judged_beside_the_others(folder: Path) -> None:
    write(folder / "sites" / "berlin.json", SITE)
    others = sites(router(folder, gateways_directory="sites"))
    file = folder / "sites" / "oslo.json"
    oslo = parse_site(file, {**SITE, "addresses": ["10.8.0.3"]}, others)
    assert (oslo.name, oslo.file, oslo.addresses) == (
        "oslo",
        file,
        frozenset({ip_address("10.8.0.3")}),
    )
    with pytest.raises(ConfigError, match=r"10\.8\.0\.2.*berlin|berlin.*10\.8\.0\.2"):
        parse_site(file, SITE, others)
    with pytest.raises(ConfigError, match=r"oslo\.json: colour: "):
        parse_site(file, {**SITE, "addresses": ["10.8.0.3"], "colour": "red"}, others)


def test_there_are_no_more_sites_than_are_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = router(folder, gateways_directory="sites")
    monkeypatch.setattr(site_directory, "MAX_SITES", 2)
    for number, name in enumerate(("berlin", "oslo"), 2):
        write(folder / "sites" / f"{name}.json", {**SITE, "addresses": [f"10.8.0.{number}"]})
    assert len(sites(file)) == 2
    write(folder / "sites" / "rome.json", {**SITE, "addresses": ["10.8.0.9"]})
    (line,) = mistakes(file)
    assert line == "router.json: gateways_directory: 3 sites, expected at most 2"


def test_all_that_is_to_be_warned_of_is_said(folder: Path) -> None:
    file = router(folder, gateways_directory="sites")
    for number, name in enumerate(("berlin", "oslo"), 2):
        site = {**SITE, "addresses": [f"10.8.0.{number}"]}
        write(folder / "sites" / f"{name}.json", site).chmod(0o644)
    said = load_router(file).warnings
    assert [any(name in line for line in said) for name in ("berlin", "oslo")] == [True, True]


def test_an_address_belongs_to_one_site(folder: Path) -> None:
    [line] = mistakes(router(folder, gateways={"berlin": SITE, "paris": SITE}))
    assert line.startswith("router.json: addresses: 10.8.0.2 of paris is that of berlin (")


def test_a_file_that_all_may_read_is_warned_of(folder: Path) -> None:
    file = write(folder / "sites" / "berlin.json", SITE)
    file.chmod(0o644)
    (warning,) = load_router(router(folder, gateways_directory="sites")).warnings
    assert (
        warning == f"the site's file {file} can be read by every user of this machine (chmod o-r)"
    )


def test_the_shared_key_lets_in_beside_known_sites_only_if_told_to(folder: Path) -> None:
    known = {"gateways": {"berlin": SITE}, "key": "a long shared key"}
    assert load_router(router(folder, **known)).key == ""
    config = load_router(router(folder, **known, admit_shared_key=True))
    assert (config.key, config.classic) == ("a long shared key", True)
    config = load_router(router(folder, **known, admit_shared_key=True, classic=False))
    assert config.classic is False
    [line] = mistakes(router(folder, gateways={"berlin": SITE}, admit_shared_key=True))
    assert line == "router.json: key: missing, expected the shared key as a string"
    [line] = mistakes(router(folder, key="a long shared key", admit_shared_key=False))
    assert line.startswith("router.json: admit_shared_key: false, expected true, or gateways")
    [line] = mistakes(router(folder, gateways={"berlin": SITE}, native=False))
    assert line.startswith("router.json: native: false, expected true")


ALLOWED = KnownSite(
    "berlin",
    Path("berlin.json"),
    addresses=frozenset({ip_address("10.8.0.2"), ip_address("fd08::2")}),
    networks=(ip_network("192.168.0.0/16"), ip_network("fd00:1::/48")),
)


@pytest.mark.parametrize(
    ("addresses", "networks", "refused"),
    [
        ([], [], []),
        (["10.8.0.2", "fd08::2"], ["192.168.0.0/16", "fd00:1::/48"], []),
        (["10.8.0.2"], ["192.168.7.0/24", "192.168.7.1/32", "fd00:1:0:7::/64"], []),
        (["10.8.0.3"], [], ["10.8.0.3"]),
        (["fd08::3"], [], ["fd08::3"]),
        (["10.8.0.2"], ["192.168.0.0/15"], ["192.168.0.0/15"]),
        (["10.8.0.2"], ["192.169.0.0/24", "192.168.1.0/24"], ["192.169.0.0/24"]),
        (["10.8.0.2"], ["0.0.0.0/0", "::/0"], ["0.0.0.0/0", "::/0"]),
        (["10.8.0.2"], ["fd00:1::/47"], ["fd00:1::/47"]),
    ],
)
def test_a_site_may_register_what_it_was_given_and_nothing_else(
    addresses: list[str], networks: list[str], refused: list[str]
) -> None:
    text = ALLOWED.refuses(map(ip_address, addresses), map(ip_network, networks))
    assert text == (f"site berlin may not register {', '.join(refused)}" if refused else "")
