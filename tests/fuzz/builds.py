"""Both builds of the package in one process, so that their results can be compared.

The build in use is imported as ever. The plain one is a second copy of the package, with the
kernels from their sources, whose modules `sys.modules` does not know: nothing outside of it can
take one for the other. Its classes are its own, too, `BadPacket` included.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType

import attrs

from polevpn_trio import kernels

PACKAGE = "polevpn_trio"

MODULES = (
    "batch",
    "control.addresses",
    "control.authentication",
    "control.commented_json",
    "control.config",
    "control.join_string",
    "control.known_routers",
    "control.login_proof",
    "control.registration",
    "control.session_identity",
    "control.site_directory",
    "dashboard.application",
    "dashboard.history",
    "dashboard.recorder",
    "dashboard.sessions",
    "doctor.client_hello",
    "doctor.path_probes",
    "errors",
    "fec.decoder",
    "fec.encoder",
    "fec.plan",
    "forwarding.flow_queue",
    "forwarding.forwarder",
    "forwarding.policy.guard",
    "forwarding.policy.rules",
    "forwarding.source_filter",
    "frames.codec",
    "frames.flow_hash",
    "frames.ip",
    "frames.messages",
    "frames.segmentation",
    "kcp.congestion.bbr",
    "kcp.conversation",
    "kcp.datagram.conversation",
    "kcp.datagram.flow_class",
    "kcp.datagram.wire",
    "kcp.segment",
    "transport.handshake",
    "transport.http_request",
    "transport.records",
    "transport.tls_records",
    "transport.tls_session",
    "transport.websocket_frames",
    "management.api",
    "management.writing",
    "management.events",
    "management.roster",
    "management.router_view",
    "management.routing",
    "management.view",
    "tun.offload",
)
"""What the targets use."""


@attrs.frozen
class Build:
    """One copy of the package; ``name`` is ``compiled`` or ``plain``."""

    name: str
    modules: dict[str, ModuleType] = attrs.field(repr=False)
    kept: dict[str, object] = attrs.field(factory=dict, repr=False)
    """What a target wants to make only once; whoever puts something here does not change it."""

    def __getitem__(self, module: str) -> ModuleType:
        """Give a module by its name inside the package."""
        return self.modules[module]


def _import(name: str) -> Build:
    return Build(name, {part: importlib.import_module(f"{PACKAGE}.{part}") for part in MODULES})


def in_use() -> Build:
    """Give the build that everybody else in this process uses."""
    compiled = all(kernels.compiled().values())
    return _import("compiled" if compiled else "plain")


def plain(instrumented: AbstractContextManager[object] | None = None) -> Build:
    """Import the plain build; ``instrumented`` surrounds that, for whoever rewrites bytecode."""
    with _forgotten(), _from_source(), instrumented or nullcontext():
        return _import("plain")


@contextmanager
def _forgotten() -> Iterator[None]:
    """Let the package be imported anew, and afterwards be what it was."""
    own = {name: module for name, module in sys.modules.items() if _is_ours(name)}
    for name in own:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_ours(name)]:
            del sys.modules[name]
        sys.modules.update(own)


@contextmanager
def _from_source() -> Iterator[None]:
    before = list(sys.meta_path)
    kernels.prefer_source()
    try:
        yield
    finally:
        sys.meta_path[:] = before


def _is_ours(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")
