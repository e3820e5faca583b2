"""How a gateway knows that a router is the one it means: the four ways, and their judgement.

Each way is asked twice. `RouterTrust.check` judges the certificates right after the TLS or DTLS
handshake, before anything is said to the router. `RouterTrust.learn` is told once the router
has taken our login, and in the native dialect has proved that it knows our key.
"""

from __future__ import annotations

import datetime
import hmac
import logging
from abc import ABC, abstractmethod
from ipaddress import ip_address
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from polevpn_trio.control import known_routers
from polevpn_trio.control.fingerprint import fingerprint_of, format_fingerprint
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.errors import Untrusted

log = ContextLogger(logging.getLogger(__name__))


class RouterTrust(ABC):
    """One way to tell the right router from another."""

    def check(
        self, scheme: str, host: str, port: int, chain: tuple[bytes, ...], now: datetime.datetime
    ) -> None:
        """Judge the certificates in DER that the router at ``host`` has shown, its own first.

        Raises Untrusted, which says what was expected and what to do.
        """
        if not chain:
            raise Untrusted(f"{router_url(scheme, host, port)} has shown no certificate")
        self._judge(router_url(scheme, host, port), host, chain, now)

    @abstractmethod
    def _judge(
        self, url: str, host: str, chain: tuple[bytes, ...], now: datetime.datetime
    ) -> None: ...

    def learn(  # noqa: B027 - most ways learn nothing
        self, scheme: str, host: str, port: int, fingerprint: bytes
    ) -> None:
        """Note that the router with this certificate took our login."""

    @abstractmethod
    def __str__(self) -> str:
        """Say for people how the router is verified."""


def router_url(scheme: str, host: str, port: int) -> str:
    """Name what shows one certificate: ``wss`` is the same listener as ``tls``."""
    host = f"[{host}]" if ":" in host else host.lower()
    return f"{'kcp' if scheme == 'kcp' else 'tls'}://{host}:{port}"


@attrs.frozen
class Insecure(RouterTrust):
    """Any router will do."""

    def _judge(self, url: str, host: str, chain: tuple[bytes, ...], now: datetime.datetime) -> None:
        pass

    def __str__(self) -> str:
        return "not at all (insecure)"


@attrs.frozen
class Pinned(RouterTrust):
    """The router has a certificate with one of these fingerprints, whatever else is in it."""

    fingerprints: tuple[bytes, ...]

    def _judge(self, url: str, host: str, chain: tuple[bytes, ...], now: datetime.datetime) -> None:
        shown = fingerprint_of(chain[0])
        if not any(hmac.compare_digest(shown, pin) for pin in self.fingerprints):
            pins = " or ".join(map(format_fingerprint, self.fingerprints))
            raise Untrusted(
                f"{url} shows the certificate {format_fingerprint(shown)}, but verify_router "
                f"expects {pins}: this is another machine, or the router has a new certificate; "
                "in that case put its fingerprint into verify_router"
            )

    def __str__(self) -> str:
        return "by certificate " + " or ".join(map(format_fingerprint, self.fingerprints))


@attrs.frozen
class Authority(RouterTrust):
    """The router's certificate was issued by one of these authorities for its name.

    ``name`` is a host name or address; None takes that of the URL (RFC 5280, RFC 9525).
    """

    certificates: tuple[x509.Certificate, ...]
    name: str | None = None
    file: Path = Path()

    def _judge(self, url: str, host: str, chain: tuple[bytes, ...], now: datetime.datetime) -> None:
        name = self.name or host
        try:
            parsed = [x509.load_der_x509_certificate(each) for each in chain]
            verifier = (
                PolicyBuilder().store(Store(list(self.certificates))).time(now.replace(tzinfo=None))
            ).build_server_verifier(_subject(name))
            verifier.verify(parsed[0], parsed[1:])
        except (VerificationError, ValueError) as error:
            raise Untrusted(
                f"{url} shows a certificate ({format_fingerprint(fingerprint_of(chain[0]))}) that "
                f'{self.file} does not vouch for as "{name}": {_one_line(error)}'
            ) from None

    def __str__(self) -> str:
        return f"by {self.file} for {self.name or 'the name in its URL'}"


@attrs.frozen
class FirstUse(RouterTrust):
    """The router has the certificate that it had when it first took our login.

    Which that was stands in a file; see `known_routers`.
    """

    file: Path
    _unwritten: dict[str, bytes] = attrs.field(factory=dict, init=False, repr=False, eq=False)
    """What could not be written down, for as long as the program runs."""

    def _judge(self, url: str, host: str, chain: tuple[bytes, ...], now: datetime.datetime) -> None:
        shown = fingerprint_of(chain[0])
        try:
            known = [entry for entry in known_routers.read(self.file) if entry.url == url]
        except known_routers.Unreadable as error:
            raise Untrusted(f"cannot tell whether {url} is the right router: {error}") from None
        if any(hmac.compare_digest(entry.fingerprint, shown) for entry in known):
            return
        if known:
            where, before = f"{self.file}, line {known[0].line}", known[0].fingerprint
        elif url in self._unwritten and not hmac.compare_digest(self._unwritten[url], shown):
            where, before = "since this program started", self._unwritten[url]
        else:
            return
        raise Untrusted(
            f"THE CERTIFICATE OF {url} HAS CHANGED: known is {format_fingerprint(before)} "
            f"({where}), shown is {format_fingerprint(shown)}. Somebody may be in between, "
            "and was told nothing. If the router has a new certificate (compare with `keys "
            "fingerprint` of its cert_file, on the router), "
            + ("delete that line" if known else "start this program again")
        )

    def learn(self, scheme: str, host: str, port: int, fingerprint: bytes) -> None:
        """Write down a router that was not known."""
        url = router_url(scheme, host, port)
        try:
            if any(entry.url == url for entry in known_routers.read(self.file)):
                return
            known_routers.add(self.file, url, fingerprint)
        except (OSError, known_routers.Unreadable) as error:
            if self._unwritten.get(url) == fingerprint:
                return
            self._unwritten[url] = fingerprint
            log.warning(
                "cannot remember the router %s in %s, so that any other would be taken for it "
                "after the next start: %s",
                url,
                self.file,
                getattr(error, "strerror", None) or error,
                advice="let this program's user write there, or name another file: known_routers",
            )
        else:
            self._unwritten.pop(url, None)
            log.info(
                "met the router %s for the first time: its certificate is %s, and expected from "
                "now on (%s)",
                url,
                format_fingerprint(fingerprint),
                self.file,
            )

    def __str__(self) -> str:
        return f"by the certificate of its first use ({self.file})"


def _subject(name: str) -> x509.IPAddress | x509.DNSName:
    try:
        return x509.IPAddress(ip_address(name.partition("%")[0]))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode("ascii"))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
