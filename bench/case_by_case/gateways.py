"""Gateways without a TUN device: the package's own dialer and frames, real sockets, real logins.

To the router they are gateways like any other: they authenticate, register an address and a
network, and beat every ten seconds. Hundreds of them fit into one process.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs
import trio

from polevpn_trio.control.config import KcpOptions, ServerUrl
from polevpn_trio.control.liveness import HEART_BEAT_SECONDS
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.registration import FEATURES, NATIVE_VERSION
from polevpn_trio.control.router_trust import Insecure
from polevpn_trio.errors import LinkLost, Refused
from polevpn_trio.frames import codec
from polevpn_trio.frames.codec import FrameReader, FrameRun
from polevpn_trio.frames.messages import (
    AuthAnswer,
    AuthRequest,
    NativeOffer,
    RegisterAnswer,
    RegisterRequest,
)
from polevpn_trio.transport.base import Link
from polevpn_trio.transport.dial import Dialer

CONNECT_TIMEOUT = 20.0
"""Seconds for a transport's handshake: many of them at once wait for one another."""

LARGEST_CROWD = 4096
"""Gateways for which `nth_address` and `nth_network` have numbers."""


def nth_address(number: int) -> IPv4Address:
    """Address inside the tunnel of gateway ``number``, from 0 on."""
    return IPv4Address("10.64.0.0") + number


def nth_network(number: int) -> IPv4Network:
    """Network that gateway ``number`` registers, a /24 of 172.16.0.0/12."""
    return IPv4Network((int(IPv4Address("172.16.0.0")) + (number << 8), 24))


def server_url(text: str) -> ServerUrl:
    """Take a URL such as ``kcp://192.0.2.1:443`` apart."""
    scheme, _, rest = text.partition("://")
    host, _, port = rest.rpartition(":")
    return ServerUrl(scheme, host, int(port), "/", text)


async def _no_routes_to_keep(_: tuple[object, ...]) -> None:
    """Nothing of a host's network is changed for these gateways."""
    await trio.lowlevel.checkpoint()


@attrs.frozen
class Member:
    """Who a gateway says it is."""

    key: str
    address: IPv4Address
    networks: tuple[IPv4Network, ...] = ()


class SimulatedGateway:
    """One login at a router that is kept alive; what the router sends is counted and dropped.

    ``link`` is there once `serve` has reported started.
    """

    link: Link

    def __init__(self, server: ServerUrl, member: Member) -> None:
        self._server = server
        self._member = member
        self._dialer = Dialer(KcpOptions(), CONNECT_TIMEOUT, _no_routes_to_keep, Insecure())
        self._reader = FrameReader(codec.S2C_IPDATA, codec.S2C_IPDATA)
        self.packets_received = 0
        self._has_probes = False

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Log in, register, report started, and stay until the link is lost.

        Raises LinkLost or Refused.
        """
        async with trio.open_nursery() as nursery:
            self.link = await nursery.start(self._dialer.serve_link, self._server)
            with trio.fail_after(CONNECT_TIMEOUT):
                await self._log_in()
            task_status.started()
            nursery.start_soon(self._beat)
            while True:
                for run in self._reader.read_untrusted(await self.link.receive()):
                    self._take(run)

    async def _log_in(self) -> None:
        member = self._member
        proof = SiteKey.derive(member.key).prove(self.link.identity)
        auth = AuthRequest("", NativeOffer(NATIVE_VERSION, FEATURES, proof=proof))
        await self.link.send_batch([codec.build_frame(codec.AUTH, auth.to_json())])
        answer = await self._answer(codec.AUTH)
        accepted = AuthAnswer.from_json_untrusted(bytes(answer.data))
        if accepted.error:
            raise Refused(accepted.error)
        self._has_probes = accepted.native is not None and "probe" in accepted.native.features
        register = RegisterRequest(
            gateway=member.address, key="", networks=member.networks, gateway6=None
        )
        await self.link.send_batch([codec.build_frame(codec.REGISTER, register.to_json())])
        answer = await self._answer(codec.REGISTER)
        if error := RegisterAnswer.from_json_untrusted(bytes(answer.data)).error:
            raise Refused(error)

    async def _answer(self, command: int) -> FrameRun:
        """Wait for the answer to a request; what comes beside it is dropped."""
        while True:
            for run in self._reader.read_untrusted(await self.link.receive()):
                if run.version == 0 and run.command == command:
                    return run

    async def _beat(self) -> None:
        while True:
            await trio.sleep(HEART_BEAT_SECONDS)
            if self._has_probes:
                self.link.ask()
            else:
                await self.link.send_batch([codec.build_frame(codec.HEART_BEAT)])

    def _take(self, run: FrameRun) -> None:
        if run.version:
            self.packets_received += run.packets
        elif run.command == codec.CLIENT_CLOSED:
            raise LinkLost("the router closed the connection")


def key_from(file: Path) -> str:
    """Read the shared key from a file: a command line could be read by everybody."""
    return file.read_text(encoding="utf-8").strip()


def be_idle_class() -> None:
    """Take only the processor time that no ordinary program on the same core wants."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
