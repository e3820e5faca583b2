"""What follows from how a router answered: reachable, the right one, its certificate, the MTU."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator

import attrs
from cryptography import x509

from polevpn_trio.control import known_routers
from polevpn_trio.control.config import GatewayConfig, ServerUrl
from polevpn_trio.control.fingerprint import fingerprint_of, format_fingerprint
from polevpn_trio.control.router_trust import Authority, FirstUse, RouterTrust, router_url
from polevpn_trio.doctor.files import SOON
from polevpn_trio.doctor.finding import Finding, fail, ok, warn
from polevpn_trio.doctor.path_probes import LARGEST_PACKET, PeerFacts
from polevpn_trio.errors import Untrusted
from polevpn_trio.transport.kcp import RECORD_OVERHEAD, UDP_OVERHEAD

_FALLBACK = "the gateway takes another of route_server, which answers"
_CUT_OFF = "this site stays cut off"


@attrs.frozen
class Asked:
    """A server, at one of its addresses, and what it answered."""

    server: ServerUrl
    version: int
    """Of IP."""
    address: str
    facts: PeerFacts
    link_mtu: int = 0
    """Bytes, of the interface by which packets leave for it; 0 if that is unknown."""

    @property
    def protocol(self) -> str:
        return "UDP" if self.server.scheme == "kcp" else "TCP"

    @property
    def where(self) -> str:
        host = f"[{self.address}]" if self.version == 6 else self.address
        return f"{host} {self.protocol.lower()} port {self.server.port}"

    @property
    def answers(self) -> bool:
        return self.facts.shaken_hands


def judge_answer(asked: Asked, answering: Collection[ServerUrl]) -> Finding:
    """Whether the router can be reached there; ``answering`` are those that answer somewhere."""
    facts = asked.facts
    check = asked.protocol.lower()
    tell = warn if answering else fail
    meaning = _CUT_OFF
    if asked.server in answering:
        meaning = "the gateway takes another of its addresses, after some seconds"
    elif answering:
        meaning = _FALLBACK
    if facts.shaken_hands:
        trip = f" in {facts.round_trip * 1000:.0f} ms" if facts.round_trip >= 0 else ""
        return ok(check, f"{asked.where} answers{trip}")
    if facts.no_way:
        if asked.server in answering:
            # Such as IPv6 on a machine that has only IPv4; that costs no time.
            return ok(check, f"{asked.where} is not to be had from here, another address is")
        return tell(
            check,
            f"{asked.where}: {facts.error}",
            meaning,
            f"ip route get {asked.address}; give this machine a default route, or write an "
            "address into route_server that it has a way to",
        )
    if facts.refused:
        return tell(
            check,
            f"{asked.where}: nothing listens there",
            meaning,
            "start the router there, or correct the port in route_server",
        )
    if facts.error:
        remedy = _no_answer(asked, otherwise=bool(answering))
        return tell(check, f"{asked.where}: {facts.error}", meaning, remedy)
    return tell(
        check,
        f"{asked.where} answers, but not as a router: {facts.handshake_error}",
        meaning,
        "see what listens there; a proxy or a firewall may answer in its place",
    )


def _no_answer(asked: Asked, *, otherwise: bool) -> str:
    """What to do; ``otherwise``: another server of the file answers."""
    port = asked.server.port
    opened = f"let {asked.protocol} port {port} through on the router (`doctor` there tells more)"
    if asked.protocol == "TCP":
        return f"{opened} and on the way: in this site's firewall, and the cloud's security group"
    if otherwise:
        return f"{opened} and on the way; where UDP is blocked it stays as it is"
    return (
        f"{opened} and on the way; where UDP is blocked, add "
        f'"tls://{asked.server.host}:{port}" to route_server, and "tls" to the router'
    )


def judge_trust(config: GatewayConfig, asked: Asked, now: datetime.datetime) -> Finding:
    """Whether the certificates that a router showed are those that the gateway will take."""
    server, trust = asked.server, config.router_trust
    shown = format_fingerprint(fingerprint_of(asked.facts.chain[0]))
    try:
        trust.check(server.scheme, server.host, server.port, asked.facts.chain, now)
    except Untrusted as error:
        return fail(
            "router-certificate",
            str(error),
            "the gateway does not say anything to it",
            f'if it is the router\'s own: "verify_router": "{shown}"'
            if not isinstance(trust, FirstUse)
            else f"if it is the router's own: remove its line from {trust.file}",
        )
    if isinstance(trust, FirstUse) and not _is_known(trust, server):
        return ok(
            "router-certificate",
            f"{asked.where} was not met before; it shows {shown}, compare that with the router's",
        )
    return ok("router-certificate", f"{asked.where} is the right router (verified {trust})")


def _is_known(trust: FirstUse, server: ServerUrl) -> bool:
    url = router_url(server.scheme, server.host, server.port)
    return any(known.url == url for known in known_routers.read(trust.file))


def judge_expiry(asked: Asked, trust: RouterTrust, now: datetime.datetime) -> Finding | None:
    """How long the router's certificate will be taken; None where its dates do not matter."""
    if not isinstance(trust, Authority):
        return None
    try:
        leaf = x509.load_der_x509_certificate(asked.facts.chain[0])
    except ValueError:
        return None
    left = leaf.not_valid_after_utc - now
    if left < datetime.timedelta():
        # Told by `judge_trust`.
        return None
    if left < SOON:
        return warn(
            "router-certificate-expiry",
            f"the certificate of {asked.where} expires in {left.days} days",
            "this gateway will refuse it then",
            "renew it on the router: cert_file, and reload",
        )
    return ok(
        "router-certificate-expiry",
        f"the certificate of {asked.where} is valid for {left.days} more days",
    )


def judge_path_mtu(config: GatewayConfig, asked: Asked) -> Finding | None:
    """Whether the datagrams of ``kcp://`` pass in one piece; None if that was not found out."""
    found = asked.facts.path_mtu
    if not found:
        return None
    headers = UDP_OVERHEAD[asked.version] + RECORD_OVERHEAD
    largest = config.kcp_options.mtu + headers
    if asked.link_mtu:
        # The gateway makes none that would not leave this machine in one piece.
        largest = min(largest, asked.link_mtu)
    more = " or more" if found >= LARGEST_PACKET else ""
    text = f"packets of {found} bytes{more} pass to {asked.where}"
    if found >= largest:
        return ok("path-mtu", text)
    return warn(
        "path-mtu",
        f"{text}, no larger ones; the largest of kcp:// have {largest}",
        "they are cut up on the way: each piece that is lost costs all of it, and some NATs and "
        "firewalls drop them",
        f'"kcp_options": {{"mtu": {max(found - headers, 576)}}} here and on the router',
    )


def judge_all(
    config: GatewayConfig, all_asked: list[Asked], now: datetime.datetime
) -> Iterator[tuple[ServerUrl, Finding]]:
    """What is to be said of all servers, each with the server that it is about."""
    answering = {asked.server for asked in all_asked if asked.answers}
    for asked in all_asked:
        found = [judge_answer(asked, answering)]
        if asked.facts.chain:
            found.append(judge_trust(config, asked, now))
            expiry = judge_expiry(asked, config.router_trust, now)
            found += [expiry] if expiry else []
        path = judge_path_mtu(config, asked)
        found += [path] if path else []
        yield from ((asked.server, finding) for finding in found)
