"""What of a changed configuration is taken over, and what takes a restart."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest

from polevpn_trio.control import config as config_module
from polevpn_trio.control import control_config, limits, metrics_config
from polevpn_trio.control.changes import (
    GATEWAY_KEYS,
    NAMED,
    ROUTER_KEYS,
    Change,
    Effect,
    Key,
    compare,
    read,
    site_changes,
)
from polevpn_trio.control.config import (
    GatewayConfig,
    KcpOptions,
    ListenerConfig,
    RouterConfig,
    ServerUrl,
    SiteConfig,
)
from polevpn_trio.control.router_trust import FirstUse
from polevpn_trio.control.site_directory import KnownSite, SiteDirectory

LISTENER = ListenerConfig("", 443, Path("a.crt"), Path("a.key"), pair_digest=b"1")
SITE = SiteConfig(local_networks=(ip_network("192.168.1.0/24"),))
ROUTER = RouterConfig(Path("router.json"), "secret", kcp=LISTENER, site=SITE)
GATEWAY = GatewayConfig(
    Path("gateway.json"),
    (ServerUrl("kcp", "203.0.113.5", 443, "/", "kcp://203.0.113.5"),),
    "secret",
    SITE,
    FirstUse(Path("known")),
)

NOT_IN_THE_FILE = {"path", "secret_files", "warnings"}


def paths(keys: tuple[str, ...], prefix: str = "") -> set[str]:
    """The keys of a section by their paths, those of sections in it in place of these."""
    sections: dict[str, tuple[str, ...]] = {
        "kcp": config_module._KEYS_OF_LISTENER["kcp"],
        "tls": config_module._KEYS_OF_LISTENER["tls"],
        "site": config_module._SITE_KEYS,
        "kcp_options": config_module._KCP_KEYS,
        "control": control_config.KEYS,
        "metrics": metrics_config.KEYS,
        "limits": limits.KEYS,
    }
    found = set()
    for key in keys:
        if key in sections and not prefix:
            found |= paths(sections[key], f"{key}.")
        else:
            found.add(f"{prefix}{key}")
    return found


@pytest.mark.parametrize(
    ("table", "keys"),
    [(ROUTER_KEYS, config_module._ROUTER_KEYS), (GATEWAY_KEYS, config_module._GATEWAY_KEYS)],
)
def test_every_key_of_a_file_is_in_the_table_of_its_role(
    table: tuple[Key, ...], keys: tuple[str, ...]
) -> None:
    listed = [name for key in table for name in key.names if name not in ("kcp", "tls", "site")]
    assert sorted(listed) == sorted(paths(keys))


@pytest.mark.parametrize(("table", "config"), [(ROUTER_KEYS, ROUTER), (GATEWAY_KEYS, GATEWAY)])
def test_every_field_of_a_configuration_is_in_the_table_of_its_role(
    table: tuple[Key, ...], config: RouterConfig | GatewayConfig
) -> None:
    fields = {field for key in table for field in key.fields}
    heads = {field.partition(".")[0] for field in fields}
    assert heads == {field.name for field in attrs.fields(type(config))} - NOT_IN_THE_FILE
    for section in (SITE, LISTENER, KcpOptions(), config.control, limits.DEFAULT_LIMITS):
        names = {field.name for field in attrs.fields(type(section))}
        if isinstance(section, ListenerConfig):
            at = "tls" if isinstance(config, RouterConfig) else None
        else:
            types = {type(getattr(config, head)): head for head in heads}
            at = types.get(type(section))
        if at is not None:
            assert {f"{at}.{name}" for name in names} <= fields


def test_nothing_has_changed() -> None:
    same = attrs.evolve(ROUTER, warnings=("read anew",))
    changes = compare(ROUTER_KEYS, ROUTER, ROUTER, same)
    assert (changes.applied, changes.restart, changes.config) == ((), (), same)


def test_what_can_be_applied_is_and_what_takes_a_restart_stays_as_it_was() -> None:
    listener = attrs.evolve(LISTENER, port=444, pair_digest=b"2")
    site = attrs.evolve(SITE, interface="pole7")
    new = attrs.evolve(ROUTER, kcp=listener, site=site, log_level="debug", queue_bytes=70_000)
    changes = compare(ROUTER_KEYS, ROUTER, ROUTER, new)
    assert changes.restart == ("kcp.listen", "site.interface")
    assert changes.applied == (
        Change("kcp.cert_file", Effect.LATER),
        Change("queue_bytes", Effect.LATER),
        Change("log_level", Effect.AT_ONCE),
    )
    assert changes.names == {"kcp.cert_file", "queue_bytes", "log_level"}
    assert changes.config == attrs.evolve(
        new, kcp=attrs.evolve(listener, port=443), site=attrs.evolve(site, interface=None)
    )


def test_a_restart_is_asked_for_until_the_file_says_what_the_program_began_with() -> None:
    moved = attrs.evolve(ROUTER, kcp=attrs.evolve(LISTENER, port=444))
    running = compare(ROUTER_KEYS, ROUTER, ROUTER, moved).config
    assert compare(ROUTER_KEYS, ROUTER, running, moved).restart == ("kcp.listen",)
    assert compare(ROUTER_KEYS, ROUTER, running, ROUTER).restart == ()


def test_a_section_that_comes_or_goes_takes_a_restart_as_a_whole() -> None:
    without = attrs.evolve(ROUTER, kcp=None, tls=LISTENER, site=None)
    for one, other in ((ROUTER, without), (without, ROUTER)):
        changes = compare(ROUTER_KEYS, one, one, other)
        assert changes.restart == ("kcp", "tls", "site")
        assert (changes.applied, changes.config) == ((), one)


def test_what_is_as_it_was_keeps_what_it_has_learned() -> None:
    trust = FirstUse(Path("known"))
    changes = compare(GATEWAY_KEYS, GATEWAY, GATEWAY, attrs.evolve(GATEWAY, router_trust=trust))
    assert changes.config.router_trust is GATEWAY.router_trust


def site(name: str, **values: Any) -> KnownSite:
    return attrs.evolve(KnownSite(name, Path("router.json")), **values)


def test_sites_are_named_in_the_detail() -> None:
    old = SiteDirectory({name: site(name) for name in ("berlin", "rome", "oslo")})
    new = SiteDirectory({"rome": site("rome", disabled=True), "oslo": site("oslo"), "x": site("x")})
    before, after = (attrs.evolve(ROUTER, sites=sites) for sites in (old, new))
    [change] = compare(ROUTER_KEYS, before, before, after).applied
    assert (change.key, change.effect) == ("gateways", Effect.AT_ONCE)
    assert change.detail == "added x, removed berlin, changed rome"
    assert str(site_changes(None, old)) == "added berlin, oslo, rome"
    many = SiteDirectory({f"s{number:02}": site(f"s{number:02}") for number in range(NAMED + 5)})
    assert str(site_changes(many, None)).endswith("s09 and 5 more")


def test_a_path_through_what_is_not_there_leads_nowhere() -> None:
    assert read(ROUTER, "tls.web") is None
    assert read(ROUTER, "kcp.port") == 443
