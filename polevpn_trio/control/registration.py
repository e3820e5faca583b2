"""The router's side of a session: who may say what, and when. No I/O.

::

    CONNECTED --AUTH, admitted---> AUTHENTICATED --REGISTER--> AUTHENTICATED
        |                               |
        +--anything else--> CLOSED <----+--idle for too long

As with the originals, a client may send IP data without ever registering, and may register
several gateways on one connection.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable, Collection, Iterable

import attrs

from polevpn_trio.control import advice
from polevpn_trio.control.addresses import Network
from polevpn_trio.control.authentication import Admitted, Authenticator, Denied
from polevpn_trio.control.limits import DEFAULT_LIMITS, Limits
from polevpn_trio.control.site_directory import Address, KnownSite
from polevpn_trio.errors import BadPacket
from polevpn_trio.frames import codec
from polevpn_trio.frames.messages import (
    AuthAnswer,
    AuthRequest,
    NativeOffer,
    RegisterAnswer,
    RegisterRequest,
)

NATIVE_VERSION = 1
FEATURES = ("datagram", "fec", "gso", "handover", "ipv6", "probe", "whole")
"""Native features that this version has.

``datagram``: IP packets travel in a conversation of their own, on links that have one. ``fec``:
repairs for its datagrams may be sent to this peer. ``gso``: super-packets may be sent to this peer,
where packets travel in the stream. ``handover``: a new link may take over from an old one without
losing or reordering a packet. ``ipv6``: IPv6 packets may be sent to this peer. ``probe``: this peer
can be asked for a sign of life beside the stream, on links that have that. ``whole``: packets, with
``gso`` super-packets too, may come to this peer in the stream although there is ``datagram``.
"""


_DATAGRAM_FEATURES = ("datagram", "fec", "probe", "whole")


def features_over(carries_datagrams: bool, features: Iterable[str]) -> tuple[str, ...]:
    """Leave out what a link cannot have."""
    return tuple(name for name in features if carries_datagrams or name not in _DATAGRAM_FEATURES)


def takes_super_packets(agreed: Collection[str]) -> bool:
    """Tell whether super-packets may be sent to a peer with which these features are agreed."""
    return "gso" in agreed and ("datagram" not in agreed or "whole" in agreed)


def agreed_features(
    offer: NativeOffer | None, own: Iterable[str] = FEATURES
) -> frozenset[str] | None:
    """Return the features that both sides have, None for a peer that speaks only classic."""
    if offer is None or offer.version < NATIVE_VERSION:
        return None
    return frozenset(offer.features) & frozenset(own)


class SessionState(enum.Enum):
    """Where a session stands."""

    CONNECTED = enum.auto()
    AUTHENTICATED = enum.auto()
    CLOSED = enum.auto()


@attrs.frozen
class Answer:
    """A frame to send back."""

    frame: bytes


@attrs.frozen
class Register:
    """Routes to install; ``answer`` is to be sent before any packet takes them."""

    request: RegisterRequest
    answer: Answer


@attrs.frozen
class Refusal:
    """A frame to send back to who asked for what is not allowed, and the reason for our log.

    ``limit`` is the key of the limit that was passed, "" if it is not a limit that forbids it.
    """

    frame: bytes
    reason: str
    advice: str = ""
    limit: str = ""


@attrs.frozen
class End:
    """The connection is over; what was answered before should still reach the peer.

    ``advice`` is what can be done about it, ``site`` the known one that the peer says to be.
    """

    reason: str
    advice: str = ""
    site: str = ""
    cause: str = attrs.field(default="", eq=False)
    """The ``reason`` as one of `~polevpn_trio.control.authentication.CAUSES`."""


@attrs.frozen
class Passed:
    """The peer has passed on all that was sent before our BARRIER."""


Action = Answer | Register | Refusal | Passed | End


class RouterSession:
    """One connection as the router sees it.

    Feed control frames to `receive_control_untrusted` and act on what it returns; ask
    `accepts_data` before forwarding. ``native`` are the features agreed on, None towards a
    classic peer; ``features`` those that may be. ``judge`` decides who may log in; ``site`` is
    who did, None for one with the shared key. ``overlaps`` says why a site may not register
    something although it was given it, "" if it may. ``limits`` bound what may be registered.
    """

    def __init__(
        self,
        judge: Callable[[AuthRequest], Admitted | Denied],
        *,
        offer_native: bool,
        features: Iterable[str] = FEATURES,
        overlaps: Callable[[KnownSite, RegisterRequest], str] = lambda site, request: "",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._overlaps = overlaps
        self._judge = judge
        self._offer_native = offer_native
        self._features = tuple(features)
        self._limits = limits
        self.state = SessionState.CONNECTED
        self.native: frozenset[str] | None = None
        self.site: KnownSite | None = None
        self._admitted: Admitted | None = None
        # What it has registered; dicts for their order.
        self._addresses: dict[Address, None] = {}
        self._networks: dict[Network, None] = {}

    @property
    def rate_limit(self) -> int | None:
        """Mbit/s that may pass from and to this peer, each; None if all may."""
        return self.site.rate_limit if self.site else None

    @property
    def accepts_data(self) -> bool:
        """Whether IP packets from this peer may be forwarded."""
        return self.state is SessionState.AUTHENTICATED

    @property
    def site_name(self) -> str:
        """Which of the known sites this is, "" for one with the shared key."""
        return self.site.name if self.site else ""

    @property
    def hands_over(self) -> bool:
        """Whether this link may take over from another, or leave to another."""
        return self.native is not None and "handover" in self.native

    def receive_control_untrusted(
        self, command: int, sequence: int, payload: bytes
    ) -> list[Action]:
        """Take one frame that is not IP data; return what to do, in order.

        Raises BadPacket when the peer breaks the protocol, which ends the connection without
        an answer.
        """
        if self.state is SessionState.CONNECTED:
            return self._authenticate_untrusted(command, sequence, payload)
        if self.state is SessionState.CLOSED:
            return []
        if command == codec.HEART_BEAT:
            return [Answer(codec.build_frame(codec.HEART_BEAT, sequence=sequence))]
        if command == codec.REGISTER:
            return self._register_untrusted(sequence, payload)
        if command == codec.BARRIER and self.hands_over:
            return [Answer(codec.build_frame(codec.BARRIER_PASSED, sequence=sequence))]
        if command == codec.BARRIER_PASSED and self.hands_over:
            return [Passed()]
        return []

    def _authenticate_untrusted(self, command: int, sequence: int, payload: bytes) -> list[Action]:
        if command != codec.AUTH:
            self.state = SessionState.CLOSED
            raise BadPacket(f"first frame is command {command}, expected AUTH")
        try:
            request = AuthRequest.from_json_untrusted(payload)
        except BadPacket:
            self.state = SessionState.CLOSED
            raise
        if not self._offer_native:
            request = attrs.evolve(request, native=None)
        verdict = self._judge(request)
        agreed = agreed_features(request.native, self._features)
        if isinstance(verdict, Denied):
            self.state = SessionState.CLOSED
            # That we are native tells one of ours not to try the classic way.
            offer = None if agreed is None else NativeOffer(NATIVE_VERSION)
            answer = AuthAnswer(verdict.answer, offer).to_json()
            frame = codec.build_frame(codec.AUTH, answer, sequence)
            return [Answer(frame), End(verdict.reason, verdict.advice, verdict.site, verdict.cause)]
        self.state = SessionState.AUTHENTICATED
        self.native = agreed
        self.site = verdict.site
        self._admitted = verdict
        offer = None
        if agreed is not None:
            offer = NativeOffer(NATIVE_VERSION, tuple(agreed), proof=verdict.proof)
        answer = AuthAnswer(native=offer).to_json()
        return [Answer(codec.build_frame(codec.AUTH, answer, sequence))]

    def _register_untrusted(self, sequence: int, payload: bytes) -> list[Action]:
        most = self._limits.registration_bytes
        if len(payload) > most:
            reason = f"a registration of {len(payload)} bytes, at most {most} are taken"
            return [_refuse(sequence, reason, advice.TOO_MUCH, "registration_bytes")]
        try:
            request = RegisterRequest.from_json_untrusted(payload)
        except BadPacket as error:
            answer = RegisterAnswer(error=str(error)).to_json()
            return [Answer(codec.build_frame(codec.REGISTER, answer, sequence))]
        claimed = [each for each in (request.gateway, request.gateway6) if each is not None]
        if self.site is not None:
            refusal = self.site.refuses(claimed, request.networks)
            refusal = refusal or self._overlaps(self.site, request)
            if refusal:
                return [_refuse(sequence, refusal, advice.NOT_GIVEN)]
        addresses = self._addresses | dict.fromkeys(claimed)
        networks = self._networks | dict.fromkeys(request.networks)
        if len(addresses) + len(networks) > self._limits.registered:
            reason = f"{len(addresses) + len(networks)} addresses and networks, at most "
            reason += f"{self._limits.registered} are taken"
            return [_refuse(sequence, reason, advice.TOO_MUCH, "registered")]
        self._addresses, self._networks = addresses, networks
        answer = RegisterAnswer().to_json()
        return [Register(request, Answer(codec.build_frame(codec.REGISTER, answer, sequence)))]

    def reconsider(self, authenticator: Authenticator, now: datetime.datetime) -> str:
        """Go on by new rules; say why they do not let this peer stay, "" if they do.

        They let it if they would admit the same login now, and all that it has registered.
        """
        if self._admitted is None or self.state is not SessionState.AUTHENTICATED:
            return ""
        reason = authenticator.reconsider(self._admitted, now)
        if not reason and self.site is not None:
            self.site = authenticator.site(self.site.name)
            if self.site is not None:
                reason = self.site.refuses(self._addresses, self._networks)
        return reason


def _refuse(sequence: int, reason: str, remedy: str, limit: str = "") -> Refusal:
    answer = RegisterAnswer(reason).to_json()
    frame = codec.build_frame(codec.REGISTER, answer, sequence)
    return Refusal(frame, reason, remedy, limit)
