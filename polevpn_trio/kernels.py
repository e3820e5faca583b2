"""The modules that may be compiled to C, and which build of them is in use.

Each is an ordinary Python file with a ``.pxd`` of C types beside it. The compiled and the
plain build behave alike; ``POLEVPN_TRIO_PURE=1`` in the environment selects the plain one
even where compiled ones are installed, which helps to tell a fault of ours from one of the
C compiler.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

KERNELS = (
    "polevpn_trio.fec.budget",
    "polevpn_trio.fec.decoder",
    "polevpn_trio.fec.encoder",
    "polevpn_trio.fec.gf256",
    "polevpn_trio.fec.symbols",
    "polevpn_trio.forwarding.flow_queue",
    "polevpn_trio.forwarding.policy.flow_table",
    "polevpn_trio.forwarding.policy.headers",
    "polevpn_trio.forwarding.policy.rule_table",
    "polevpn_trio.forwarding.policy.sifter",
    "polevpn_trio.forwarding.prefix_trie",
    "polevpn_trio.forwarding.source_filter",
    "polevpn_trio.frames.codec",
    "polevpn_trio.frames.flow_hash",
    "polevpn_trio.frames.ip",
    "polevpn_trio.frames.segmentation",
    "polevpn_trio.kcp.byte_queue",
    "polevpn_trio.kcp.congestion.base",
    "polevpn_trio.kcp.congestion.base_loss",
    "polevpn_trio.kcp.congestion.competition",
    "polevpn_trio.kcp.congestion.bbr",
    "polevpn_trio.kcp.congestion.windowed_filter",
    "polevpn_trio.kcp.conversation",
    "polevpn_trio.kcp.datagram.arrivals",
    "polevpn_trio.kcp.datagram.body_builder",
    "polevpn_trio.kcp.datagram.body_pool",
    "polevpn_trio.kcp.datagram.conversation",
    "polevpn_trio.kcp.datagram.flow_class",
    "polevpn_trio.kcp.datagram.flow_order",
    "polevpn_trio.kcp.datagram.item_reader",
    "polevpn_trio.kcp.datagram.pacer",
    "polevpn_trio.kcp.datagram.peer_clock",
    "polevpn_trio.kcp.datagram.reassembly",
    "polevpn_trio.kcp.datagram.transmissions",
    "polevpn_trio.kcp.datagram.wire",
    "polevpn_trio.kcp.receive_window",
    "polevpn_trio.kcp.round_trip",
    "polevpn_trio.kcp.segment",
    "polevpn_trio.kcp.send_window",
    "polevpn_trio.kcp.tail",
    "polevpn_trio.kcp.window_probe",
    "polevpn_trio.lab.wan.path",
    "polevpn_trio.stream_buffer",
    "polevpn_trio.transport.moderation",
    "polevpn_trio.transport.records",
    "polevpn_trio.transport.size_runs",
    "polevpn_trio.transport.tls_records",
    "polevpn_trio.transport.websocket_frames",
    "polevpn_trio.tun.offload",
)

"""Those with the loops over packets: no I/O, and C's own rules for indices and divisions."""

EDGES = (
    "polevpn_trio.batch",
    "polevpn_trio.forwarding.forwarder",
    "polevpn_trio.transport.base",
    "polevpn_trio.transport.carriage",
    "polevpn_trio.transport.dtls",
    "polevpn_trio.transport.dtls_session",
    "polevpn_trio.transport.eager",
    "polevpn_trio.transport.kcp",
    "polevpn_trio.transport.outgoing",
    "polevpn_trio.transport.packet_channel",
    "polevpn_trio.transport.path_governor",
    "polevpn_trio.transport.stream_sender",
    "polevpn_trio.transport.tls",
    "polevpn_trio.transport.tls_link",
    "polevpn_trio.transport.tls_session",
    "polevpn_trio.transport.tls_stream_link",
    "polevpn_trio.transport.udp",
    "polevpn_trio.tun.device",
)
"""Those that move batches between kernels and the system, where what Python spends on each
attribute and call adds up. They keep Python's rules, and may wait, read clocks and do I/O."""

COMPILED = (*KERNELS, *EDGES)


class _SourceFinder:
    """Finds the source files of these modules, passing over what was compiled beside them."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in COMPILED:
            return None
        found = PathFinder.find_spec(name, path, target)
        if found is None or found.origin is None:
            return None
        folder = Path(found.origin).parent
        source = folder / (name.rpartition(".")[2] + ".py")
        return spec_from_file_location(name, source, loader=SourceFileLoader(name, str(source)))


def prefer_source() -> None:
    """Make later imports of these modules take the plain Python build."""
    sys.meta_path.insert(0, _SourceFinder)


def compiled() -> dict[str, bool]:
    """Tell for each of these modules whether the build in use is the compiled one."""
    return {
        name: not (importlib.import_module(name).__file__ or "").endswith(".py")
        for name in COMPILED
    }
