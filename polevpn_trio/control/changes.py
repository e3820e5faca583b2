"""What a running program can take over of a changed configuration, and what needs a restart.

One table for each role lists every key that its file may have: where it ends up in the objects
of `polevpn_trio.control.config`, and when a change of it takes effect. A new key is a new line.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import attrs

from polevpn_trio.control.config import GatewayConfig, RouterConfig
from polevpn_trio.control.limits import KEYS as LIMITS
from polevpn_trio.control.site_directory import KnownSite, SiteDirectory

Config = TypeVar("Config", bound=RouterConfig | GatewayConfig)


class Effect(enum.Enum):
    """When a changed key takes effect."""

    AT_ONCE = "at once"
    LATER = "for connections to come"
    NEW_LINK = "by a new link, as soon as one can be made"
    RESTART = "after a restart"


@attrs.frozen
class Key:
    """Keys of the file that mean the same thing, the first of which names it.

    ``fields`` are the paths of attributes that hold it in the configuration object. A path that
    leads through a section that is not there reads as None.
    """

    names: tuple[str, ...]
    fields: tuple[str, ...]
    effect: Effect
    section: bool = False
    """Whether it is only about the section being there at all."""

    def differs(self, one: object, other: object) -> bool:
        """Whether two configurations differ in it."""
        for field in self.fields:
            ours, theirs = read(one, field), read(other, field)
            if ((ours is None) != (theirs is None)) if self.section else ours != theirs:
                return True
        return False


def _keys(effect: Effect, prefix: str, **fields: str) -> tuple[Key, ...]:
    """One key a name, in a section; names with the same field stand for one another."""
    names: dict[str, list[str]] = {}
    for name, field in fields.items():
        names.setdefault(field, []).append(f"{prefix}{name}")
    return tuple(Key(tuple(each), (field,), effect) for field, each in names.items())


def _listener(name: str) -> tuple[Key, ...]:
    at = f"{name}."
    return (
        Key((name, f"{at}enable"), (name,), Effect.RESTART, section=True),
        Key((f"{at}listen",), (f"{at}host", f"{at}port"), Effect.RESTART),
        Key(
            (f"{at}cert_file", f"{at}key_file"),
            (f"{at}cert_file", f"{at}key_file", f"{at}pair_digest"),
            Effect.LATER,
        ),
    )


def _site(prefix: str, networks: Effect) -> tuple[Key, ...]:
    """The keys of a site, which at a gateway stand at the top of the file."""
    fixed = ("gateway", "gateway6", "interface", "mtu", "mss_clamp")
    changing = ("route_networks", "acls", "forward", "masquerade")
    local = ("local_networks", "local_network")
    return (
        *_keys(Effect.RESTART, prefix, **{name: f"site.{name}" for name in fixed}),
        *_keys(Effect.AT_ONCE, prefix, **{name: f"site.{name}" for name in changing}),
        *_keys(networks, prefix, **dict.fromkeys(local, "site.local_networks")),
    )


_KCP_OPTIONS = {
    name: f"kcp_options.{name}"
    for name in ("mtu", "send_window", "receive_window", "repair_budget")
}
_CONTROL = _keys(
    Effect.RESTART,
    "control.",
    enable="control.enabled",
    socket="control.path",
    group="control.group",
)
_METRICS = _keys(Effect.RESTART, "metrics.", listen="metrics")
_RUN_AS = _keys(Effect.RESTART, "", user="run_as", group="run_as")
_LOG_LEVEL = _keys(Effect.AT_ONCE, "", log_level="log_level")

ROUTER_KEYS: tuple[Key, ...] = (
    *_listener("kcp"),
    *_listener("tls"),
    *_keys(
        Effect.LATER,
        "tls.",
        page_file="tls.web",
        websocket_path="tls.web",
        schemes="tls.web",
    ),
    Key(("gateways", "gateways_directory"), ("sites",), Effect.AT_ONCE),
    Key(("key", "admit_shared_key"), ("key", "other_keys"), Effect.AT_ONCE),
    *_keys(Effect.AT_ONCE, "", classic="classic", source_check="source_check", policy="policy"),
    *_keys(
        Effect.LATER,
        "",
        idle_timeout="idle_timeout",
        auth_timeout="auth_timeout",
        queue_bytes="queue_bytes",
    ),
    *_keys(Effect.LATER, "limits.", **{name: f"limits.{name}" for name in LIMITS}),
    Key(("site",), ("site",), Effect.RESTART, section=True),
    *_site("site.", networks=Effect.RESTART),
    Key(("native",), ("native", "features"), Effect.LATER),
    *_keys(Effect.LATER, "kcp_options.", **_KCP_OPTIONS),
    *_LOG_LEVEL,
    *_keys(Effect.AT_ONCE, "", dashboard="dashboard"),
    *_keys(Effect.RESTART, "", tcp_congestion="tcp_congestion"),
    *_CONTROL,
    *_METRICS,
    *_RUN_AS,
)
"""What a router takes over."""

GATEWAY_KEYS: tuple[Key, ...] = (
    *_site("", networks=Effect.AT_ONCE),
    *_keys(
        Effect.NEW_LINK,
        "",
        route_server="servers",
        key="key",
        name="name",
        classic="classic",
        verify_router="router_trust",
        known_routers="router_trust",
        tcp_congestion="tcp_congestion",
    ),
    Key(("cert_file", "key_file"), ("certificate", "certificate.digest"), Effect.NEW_LINK),
    Key(("native",), ("native", "features"), Effect.NEW_LINK),
    *_keys(Effect.NEW_LINK, "kcp_options.", **_KCP_OPTIONS),
    *_keys(Effect.LATER, "", connect_timeout="connect_timeout", renew_seconds="renew_seconds"),
    *_LOG_LEVEL,
    *_CONTROL,
    *_METRICS,
    *_RUN_AS,
)
"""What a gateway takes over."""


@attrs.frozen
class Change:
    """A key that has changed, and when the change takes effect; ``detail`` may be ""."""

    key: str
    effect: Effect
    detail: str = ""


@attrs.frozen
class Changes(Generic[Config]):
    """What became of a new configuration.

    ``config`` is what the program goes on with: the new one, with all that needs a restart as it
    is. ``restart`` names that.
    """

    config: Config
    applied: tuple[Change, ...]
    restart: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """The keys that are taken over."""
        return frozenset(change.key for change in self.applied)


def compare(keys: Sequence[Key], started: Config, running: Config, new: Config) -> Changes[Config]:
    """Say what of a ``new`` configuration can be taken over.

    ``started`` is what the program began with, which is what holds for all that needs a restart;
    ``running`` what it has now. What has not changed is taken from there, the very same objects.
    """
    restart = []
    config = new
    for key in keys:
        if key.effect is Effect.RESTART:
            if key.differs(started, config):
                restart.append(key.names[0])
            config = _copied(key, started, config)
    applied = []
    for key in keys:
        if key.effect is not Effect.RESTART:
            if key.differs(running, config):
                applied.append(Change(key.names[0], key.effect, _detail(key, running, config)))
            else:
                config = _copied(key, running, config)
    return Changes(config, tuple(applied), tuple(restart))


def _detail(key: Key, running: Config, config: Config) -> str:
    if key.fields == ("sites",):
        return str(site_changes(read(running, "sites"), read(config, "sites")))
    return ""


def _copied(key: Key, origin: Config, config: Config) -> Config:
    if key.section and (read(origin, key.fields[0]) is None) == (
        read(config, key.fields[0]) is None
    ):
        return config
    for field in key.fields:
        config = _with(config, field, read(origin, field))
    return config


def read(config: object, field: str) -> Any:
    """Read an attribute by its path."""
    value = config
    for name in field.split("."):
        if value is None:
            return None
        value = getattr(value, name)
    return value


def _with(config: Any, field: str, value: object) -> Any:
    """Make a copy with another value at a path; as it is where the path leads nowhere."""
    name, _, rest = field.partition(".")
    if rest:
        section = getattr(config, name)
        if section is None:
            return config
        value = _with(section, rest, value)
    return attrs.evolve(config, **{name: value})


@attrs.frozen
class SiteChanges:
    """Names of sites that are new, gone, or not what they were."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __str__(self) -> str:
        said = (("added", self.added), ("removed", self.removed), ("changed", self.changed))
        return ", ".join(f"{what} {_listed(names)}" for what, names in said if names)


NAMED = 10
"""Sites that are named of each kind; more are counted."""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def site_changes(old: SiteDirectory | None, new: SiteDirectory | None) -> SiteChanges:
    """Compare two directories; without one there are no sites."""
    before: Mapping[str, KnownSite] = old or {}
    after: Mapping[str, KnownSite] = new or {}
    return SiteChanges(
        added=tuple(sorted(name for name in after if name not in before)),
        removed=tuple(sorted(name for name in before if name not in after)),
        changed=tuple(
            sorted(name for name in after if name in before and after[name] != before[name])
        ),
    )
