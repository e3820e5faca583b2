"""How a gateway logs in at the servers of one configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from polevpn_trio.batch import SEQUENCES_OFFLOAD
from polevpn_trio.control import advice
from polevpn_trio.control.config import GatewayConfig, ServerUrl
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.registration import NATIVE_VERSION, agreed_features, features_over
from polevpn_trio.errors import BadPacket, LinkLost, Refused, Untrusted
from polevpn_trio.frames import codec
from polevpn_trio.frames.codec import FrameReader, FrameRun
from polevpn_trio.frames.messages import AuthAnswer, AuthRequest, NativeOffer
from polevpn_trio.nursery_tree import Branch
from polevpn_trio.transport.base import Link
from polevpn_trio.transport.dial import Dialer
from polevpn_trio.uplink import LinkSettings, Uplink

log = logging.getLogger("polevpn_trio.gateway")

LONGEST_ERROR = 200
"""Characters of a router's complaint that are worth repeating."""


class _ClassicRouter(Refused):
    """A router that refused our proof does not know our own dialect."""


class Login:
    """Logs in by one configuration; another one takes another `Login`."""

    def __init__(
        self,
        config: GatewayConfig,
        dialer: Dialer,
        root: Branch,
        make_reader: Callable[[], FrameReader],
    ) -> None:
        """Tasks of links go into ``root``; ``make_reader`` makes what reads a link's stream."""
        self.settings = LinkSettings.of(config)
        self._config = config
        self._dialer = dialer
        self._root = root
        self._make_reader = make_reader
        # Servers, by rank, that know only the classic dialect.
        self._classic: set[int] = set()

    async def log_in(self, rank: int) -> Uplink:
        """Connect to a server and authenticate.

        To a router that knows only the classic dialect, our key is sent as it is, if that is
        allowed. Raises LinkLost, BadPacket, Refused, or Untrusted.
        """
        if self._config.native and rank not in self._classic:
            try:
                return await self._log_in_as(rank, prove=True)
            except _ClassicRouter as refused:
                if not self._config.classic or not self._config.key:
                    raise Refused(str(refused), advice=advice.CLASSIC_ROUTER) from None
                self._classic.add(rank)
        return await self._log_in_as(rank, prove=False)

    async def _log_in_as(self, rank: int, *, prove: bool) -> Uplink:
        server = self._config.servers[rank]
        link: Link = await self._root.nursery.start(
            self._dialer.serve_link, server, name=f"dial {server.text}"
        )
        try:
            with trio.fail_after(self._config.connect_timeout):
                return await self._authenticate(link, rank, server, prove=prove)
        except trio.TooSlowError as error:
            link.close()
            raise LinkLost(
                f"{server.text} does not answer the login", advice=advice.NO_LOGIN_ANSWER
            ) from error
        except BaseException:
            link.close()
            raise

    async def _authenticate(
        self, link: Link, rank: int, server: ServerUrl, *, prove: bool
    ) -> Uplink:
        config = self._config
        key = SiteKey.derive(config.key, config.name) if config.key else None
        features = features_over(link.carries_datagrams, config.features)
        if prove:
            proof = b"" if key is None else key.prove(link.identity)
            request = AuthRequest("", NativeOffer(NATIVE_VERSION, features, config.name, proof))
        else:
            offer = NativeOffer(NATIVE_VERSION, features) if config.native else None
            request = AuthRequest(config.key, offer)
        await link.send_batch([codec.build_frame(codec.AUTH, request.to_json())])
        reader = self._make_reader()
        runs: list[FrameRun] = []
        while not runs:
            runs = reader.read_untrusted(await link.receive())
        if runs[0].version:
            raise BadPacket("IP data before the answer to the login")
        answer = AuthAnswer.from_json_untrusted(bytes(runs[0].data))
        if answer.error:
            refusal = f"{server.text} refused our login: {answer.error[:LONGEST_ERROR]}"
            if prove and answer.native is None:
                raise _ClassicRouter(refusal)
            raise Refused(refusal, advice=advice.REFUSED_LOGIN)
        native = agreed_features(answer.native, features) if config.native else None
        if (prove and key is not None) and not (
            answer.native and key.check_router(answer.native.proof, link.identity)
        ):
            raise Untrusted(
                f"{server.text} took our login, but does not know our key itself",
                advice=advice.UNTRUSTED,
            )
        if native is not None:
            self._classic.discard(rank)
        config.router_trust.learn(
            server.scheme, server.host, server.port, link.identity.router_certificate
        )
        log.debug("logged in at %s %s", link.scheme, link.peer)
        uplink = Uplink(link, rank, reader, native, tuple(runs[1:]), self.settings, prove)
        if uplink.has_datagrams:
            link.open_datagrams(
                codec.S2C_IPDATA, repair=uplink.has_repair, whole=uplink.takes_super_packets
            )
        if uplink.takes_super_packets:
            reader.sequences = SEQUENCES_OFFLOAD
        return uplink
