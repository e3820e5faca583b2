"""Programs of others that join two sites through a hub in user space, for comparison.

Each runs as its distribution packages it, with its default buffers unless `tuned`, only told what
makes it comparable: a hub in the middle through which all packets pass, and ciphers of the same
strength where there is a choice. A peer that is not installed is skipped; nothing is downloaded.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from shutil import which

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa, x25519

from bench.side_by_side.network import (
    FIRST,
    SECOND,
    START_TIMEOUT,
    TUNNEL_NETWORK,
    Network,
    Programs,
    RunFailed,
    Subject,
)
from polevpn_trio.lab.certificate import make_certificate
from polevpn_trio.lab.namespaces import Host, Process, wait_until

REFERENCE = "openvpn"
"""Name of the peer that all others are compared with."""

_PORT = 1194
_VERSION_TIMEOUT = 10.0

_TUNED_BUFFER = 4 * 2**20
"""Bytes; the kernel cuts them down to what net.core.rmem_max and wmem_max allow."""


def _program(name: str) -> str | None:
    # Daemons live where an ordinary user's PATH does not always lead.
    return which(name) or which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


def _version(name: str, option: str) -> str:
    """Say the first words of what a program says of its version, or its bare name."""
    path = _program(name)
    if path is None:
        return name
    try:
        said = subprocess.run(
            [path, option], capture_output=True, text=True, timeout=_VERSION_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return name
    # "OpenVPN 2.6.14 x86_64-...", "tinc version 1.0.36", "wireguard-go v0.0.20220316"
    words = (said.stdout or said.stderr).split("\n", 1)[0].split()
    for position, word in enumerate(words):
        if any(letter.isdigit() for letter in word):
            return " ".join(words[: position + 1])
    return name


def _missing(name: str) -> str | None:
    return None if _program(name) else f"no program {name} is installed"


def _wait_for_link(process: Process, interface: str) -> None:
    """Wait until a program has made its interface, or has ended. Raises TimeoutError."""

    def exists() -> bool:
        if process.returncode is not None:
            raise RunFailed(f"{process.name} ended: {process.log_tail(3)}")
        names = process.host.call(socket.if_nameindex)
        return any(name == interface for _, name in names)

    wait_until(exists, START_TIMEOUT, f"{process.name} to make {interface}")


# --- OpenVPN


@attrs.frozen
class OpenVpn:
    """OpenVPN over UDP in user space, AES-128-GCM, its server passing packets between clients."""

    tuned: bool = False
    """Give its sockets buffers as large as ours would like them; by itself it asks for none."""
    ours: bool = False

    @property
    def name(self) -> str:
        return f"{REFERENCE}-tuned" if self.tuned else REFERENCE

    @property
    def description(self) -> str:
        version = _version("openvpn", "--version")
        buffers = f"buffers of {_TUNED_BUFFER} bytes" if self.tuned else "default buffers"
        return (
            f"{version}, UDP, AES-128-GCM, client-to-client, {buffers}, "
            "no kernel offload (disable-dco)"
        )

    def missing(self) -> str | None:
        return _missing("openvpn")

    def start(self, network: Network) -> Programs:
        identities = {host.name: make_certificate(host.name) for host, _ in network.members}
        marks = {name: _fingerprint(each.certificate) for name, each in identities.items()}
        shared = [
            "dev tun0",
            "proto udp4",
            "data-ciphers AES-128-GCM",
            "disable-dco",
            "verb 1",
        ]
        if self.tuned:
            shared += [f"sndbuf {_TUNED_BUFFER}", f"rcvbuf {_TUNED_BUFFER}"]
        router = network.router
        directory = router.FILES / "clients"
        router.call(directory.mkdir)
        for host, address in network.members[1:]:
            router.write_file(f"clients/{host.name}", f"ifconfig-push {address} 255.255.255.0\n")
        server = [
            *shared,
            "server 10.8.0.0 255.255.255.0",
            "topology subnet",
            f"port {_PORT}",
            "dh none",
            f"client-config-dir {directory}",
            "client-to-client",
            "keepalive 10 60",
        ]
        clients = [marks[host.name] for host in network.gateways]
        hub = _start_openvpn(
            router,
            server,
            identities[router.name].certificate,
            identities[router.name].key,
            clients,
        )
        ends = []
        for number, host in enumerate(network.gateways, 1):
            own = identities[host.name]
            lines = [*shared, "client", "nobind", f"remote {network.hub_address(number)} {_PORT}"]
            ends.append(_start_openvpn(host, lines, own.certificate, own.key, [marks[router.name]]))
        return Programs(hub, *ends)


def _fingerprint(certificate: bytes) -> str:
    digest = x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256())
    return digest.hex(":")


def _start_openvpn(
    host: Host, lines: Sequence[str], certificate: bytes, key: bytes, peers: Sequence[str]
) -> Process:
    # The certificates vouch for themselves, so each end names those that it accepts.
    text = "\n".join(
        [
            *lines,
            "<peer-fingerprint>",
            *peers,
            "</peer-fingerprint>",
            f"<cert>\n{certificate.decode()}</cert>",
            f"<key>\n{key.decode()}</key>",
            "",
        ]
    )
    file = host.write_file("openvpn.conf", text, mode=0o600)
    return host.start([_program("openvpn") or "openvpn", "--config", str(file)], name="openvpn")


# --- tinc


@attrs.frozen
class Tinc:
    """A tinc 1.0 network whose two ends know only the hub."""

    name: str = "tinc"
    ours: bool = False

    @property
    def description(self) -> str:
        return f"{_version('tincd', '--version')}, UDP, AES-128-CBC, SHA-256, via the hub"

    def missing(self) -> str | None:
        return _missing("tincd")

    def start(self, network: Network) -> Programs:
        keys = {
            host.name: rsa.generate_private_key(public_exponent=65537, key_size=2048)
            for host, _ in network.members
        }
        cards = {
            host.name: "\n".join(
                [
                    f"Subnet = {address}/32",
                    "Cipher = aes-128-cbc",
                    "Digest = sha256",
                    # The ends cannot reach each other; without this they would keep trying.
                    f"IndirectData = {'no' if host is network.router else 'yes'}",
                    _tinc_public_key(keys[host.name]),
                ]
            )
            for host, address in network.members
        }
        started = []
        for number, (host, address) in enumerate(network.members):
            settings = [f"Name = {host.name}", "AddressFamily = ipv4", "Interface = tun0"]
            known = dict(cards)
            if host is not network.router:
                settings.append("ConnectTo = router")
                known["router"] = f"Address = {network.hub_address(number)}\n{known['router']}"
            host.call((host.FILES / "hosts").mkdir)
            for name, card in known.items():
                host.write_file(f"hosts/{name}", card)
            host.write_file("tinc.conf", "\n".join([*settings, ""]))
            host.write_file("rsa_key.priv", _tinc_private_key(keys[host.name]), mode=0o600)
            process = host.start(
                [
                    _program("tincd") or "tincd",
                    f"--config={host.FILES}",
                    f"--pidfile={host.FILES / 'tinc.pid'}",
                    "--no-detach",
                ],
                name="tincd",
            )
            _wait_for_link(process, "tun0")
            host.add_addresses("tun0", f"{address}/24")
            host.set_link("tun0", up=True)
            started.append(process)
        return Programs(*started)


def _tinc_private_key(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _tinc_public_key(key: rsa.RSAPrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.PKCS1
    return key.public_key().public_bytes(encoding, form).decode()


# --- WireGuard in user space


@attrs.frozen
class WireGuardGo:
    """wireguard-go on all three machines; the router's kernel passes packets between the two."""

    name: str = "wireguard-go"
    ours: bool = False

    @property
    def description(self) -> str:
        version = _version("wireguard-go", "--version")
        return f"{version}, ChaCha20-Poly1305, forwarding by the router's kernel"

    def missing(self) -> str | None:
        return _missing("wireguard-go")

    def start(self, network: Network) -> Programs:
        keys = {host.name: x25519.X25519PrivateKey.generate() for host, _ in network.members}
        public = {name: key.public_key().public_bytes_raw().hex() for name, key in keys.items()}
        network.router.forward_packets()
        started = []
        for number, (host, address) in enumerate(network.members):
            # The control sockets' folder may be one that all hosts share: no name comes twice.
            interface = f"wg-{host.name}"
            process = host.start(
                [_program("wireguard-go") or "wireguard-go", "--foreground", interface],
                name="wireguard-go",
            )
            _wait_for_link(process, interface)
            if host is network.router:
                peers = [
                    f"public_key={public[gateway.name]}\nallowed_ip={inner}/32"
                    for gateway, inner in zip(network.gateways, (FIRST, SECOND), strict=True)
                ]
            else:
                peers = [
                    f"public_key={public['router']}\n"
                    f"endpoint={network.hub_address(number)}:{_PORT}\n"
                    "persistent_keepalive_interval=10\n"
                    f"allowed_ip={TUNNEL_NETWORK}"
                ]
            private = keys[host.name].private_bytes_raw().hex()
            order = "\n".join(["set=1", f"private_key={private}", f"listen_port={_PORT}", *peers])
            _configure_wireguard(process, interface, order)
            host.add_addresses(interface, f"{address}/24")
            host.set_link(interface, up=True)
            started.append(process)
        return Programs(*started)


def _configure_wireguard(process: Process, interface: str, order: str) -> None:
    """Speak to the control socket, see "cross-platform userspace implementation" of WireGuard."""

    def exchange() -> str | None:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(f"/var/run/wireguard/{interface}.sock")
                sock.sendall(f"{order}\n\n".encode())
                return sock.recv(4096).decode()
        except (FileNotFoundError, ConnectionRefusedError):
            # It makes the interface first and the socket then.
            return None

    answers: list[str] = []

    def answered() -> bool:
        answer = process.host.call(exchange)
        if answer is not None:
            answers.append(answer)
        return bool(answers)

    wait_until(answered, START_TIMEOUT, f"the control socket of {interface}")
    if "errno=0" not in answers[0]:
        raise RunFailed(f"wireguard-go refused its configuration: {answers[0].strip()}")


def peers(*, tuned: bool) -> list[Subject]:
    """All peers, installed or not; with ``tuned``, OpenVPN a second time with large buffers."""
    return [OpenVpn(), *([OpenVpn(tuned=True)] if tuned else []), Tinc(), WireGuardGo()]
