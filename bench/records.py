"""What a DTLS record of 1,350 bytes costs, sealed and opened: ours and OpenSSL's.

Run ``python bench/records.py [--json] [--batches N]``. Ours is measured as compiled (if it is)
and as plain Python, in batches of 46 as one segmented UDP send carries; beside it stand the
bare AES-GCM calls of the cryptography package, which no record layer built on it can beat,
the way through pyOpenSSL with memory BIOs, a record at a time, and our batch with its way
through two real sockets. Figures are microseconds of processor time per record, the best of
several rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import subprocess
import sys
import time
from array import array
from collections.abc import Callable

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from polevpn_trio import kernels
from polevpn_trio.transport.records import OVERHEAD_BYTES, RecordOpener, RecordSealer
from polevpn_trio.transport.udp import UdpSocket

SIZE = 1350
BATCH = 46
ROUNDS = 5
KEY = bytes(range(16))
IV = bytes(4)


@attrs.frozen
class Result:
    """Microseconds per record."""

    name: str
    seal: float
    open: float


def best(work: Callable[[], object], records: int) -> float:
    """Give the shortest time per record over some rounds, in microseconds."""
    shortest = float("inf")
    for _ in range(ROUNDS):
        started = time.thread_time()
        work()
        shortest = min(shortest, time.thread_time() - started)
    return shortest / records * 1e6


def measure_ours(name: str, batches: int) -> Result:
    """Seal and open full batches with our record layer."""
    sealer = RecordSealer(KEY, IV, 1 << 16, 1 << 63)
    opener = RecordOpener(KEY, IV)
    datagrams = bytearray(os.urandom(SIZE * BATCH))
    sizes = array("H", [SIZE] * BATCH)

    def seal() -> None:
        for _ in range(batches):
            sealer.seal_batch(datagrams, sizes, BATCH)

    sealing = best(seal, batches * BATCH)
    opening = float("inf")
    for _ in range(ROUNDS):
        received = []
        for _ in range(batches):
            sealer.seal_batch(datagrams, sizes, BATCH)
            received.append(bytes(sealer.datagrams[: BATCH * (SIZE + OVERHEAD_BYTES)]))
        started = time.thread_time()
        for data in received:
            opener.open_batch_untrusted(data, SIZE + OVERHEAD_BYTES)
        opening = min(opening, time.thread_time() - started)
    if opener.opened != ROUNDS * batches * BATCH:
        raise SystemExit("not every record opened")
    return Result(name, sealing, opening / (batches * BATCH) * 1e6)


def measure_sockets(batches: int) -> Result:
    """The same with two real sockets: seal and send, receive and open."""
    listener = UdpSocket.bind("127.0.0.1", 0)
    client = UdpSocket.connect(listener.getsockname())
    sealer = RecordSealer(KEY, IV, 1 << 16, 1 << 63)
    opener = RecordOpener(KEY, IV)
    datagrams = bytearray(os.urandom(SIZE * BATCH))
    sizes = array("H", [SIZE] * BATCH)
    sending = receiving = float("inf")
    for _ in range(ROUNDS):
        sent = taken = 0.0
        for _ in range(batches):
            started = time.thread_time()
            sealer.seal_batch(datagrams, sizes, BATCH)
            client.send_batch_nowait(sealer.datagrams, sealer.sizes, BATCH, ())
            between = time.thread_time()
            got = 0
            while got < BATCH:
                data, segment, _ = listener.receive_batch_nowait()
                got += opener.open_batch_untrusted(data, segment)
            sent += between - started
            taken += time.thread_time() - between
        sending = min(sending, sent)
        receiving = min(receiving, taken)
    client.close()
    listener.close()
    scale = 1e6 / (batches * BATCH)
    return Result("ours, with sendmsg and recvmsg", sending * scale, receiving * scale)


def measure_bare(batches: int) -> Result:
    """Only the AES-GCM calls, with everything prepared."""
    cipher = AESGCM(KEY)
    nonce, additional = bytes(12), bytes(13)
    plaintext = os.urandom(SIZE)
    sealed = memoryview(bytearray(SIZE + 16))
    back = memoryview(bytearray(SIZE))
    count = batches * BATCH

    def seal() -> None:
        for _ in range(count):
            cipher.encrypt_into(nonce, plaintext, additional, sealed)

    def reopen() -> None:
        for _ in range(count):
            cipher.decrypt_into(nonce, sealed, additional, back)

    return Result("AES-GCM calls alone", best(seal, count), best(reopen, count))


def openssl_pair() -> tuple[SSL.Connection, SSL.Connection]:
    """Two pyOpenSSL connections after a DTLS handshake through memory BIOs."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    ends = []
    for server in (True, False):
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
        context.set_max_proto_version(0xFEFD)
        if server:
            context.use_certificate(crypto.X509.from_cryptography(certificate))
            context.use_privatekey(crypto.PKey.from_cryptography_key(key))
        connection = SSL.Connection(context)
        connection.set_ciphertext_mtu(1472)
        if server:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
        ends.append(connection)
    server_end, client_end = ends
    for _ in range(10):
        for connection, other in ((client_end, server_end), (server_end, client_end)):
            with contextlib.suppress(SSL.WantReadError):
                connection.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    other.bio_write(connection.bio_read(16384))
    return client_end, server_end


def measure_openssl(batches: int) -> Result:
    """Write and read through pyOpenSSL, a record at a time."""
    client, server = openssl_pair()
    plaintext = os.urandom(SIZE)
    sealing = opening = float("inf")
    for _ in range(ROUNDS):
        started = time.thread_time()
        sealed = []
        for _ in range(batches * BATCH):
            client.write(plaintext)
            sealed.append(client.bio_read(2048))
        sealing = min(sealing, time.thread_time() - started)
        started = time.thread_time()
        for record in sealed:
            server.bio_write(record)
            if len(server.read(2048)) != SIZE:
                raise SystemExit("OpenSSL did not open a record")
        opening = min(opening, time.thread_time() - started)
    scale = 1e6 / (batches * BATCH)
    return Result("pyOpenSSL with memory BIOs", sealing * scale, opening * scale)


def measure_plain_python(batches: int) -> list[Result]:
    """Measure our plain Python build in a process of its own."""
    command = [sys.executable, __file__, "--json", "--only-ours", f"--batches={batches}"]
    environment = os.environ | {"POLEVPN_TRIO_PURE": "1"}
    output = subprocess.run(
        command, env=environment, capture_output=True, check=True, text=True
    ).stdout
    return [Result(**line) for line in json.loads(output)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--batches", type=int, default=200, help="batches of 46 in each round")
    parser.add_argument("--only-ours", action="store_true", help="leave the others out")
    options = parser.parse_args()
    compiled = kernels.compiled()["polevpn_trio.transport.records"]
    results = [measure_ours("ours, compiled" if compiled else "ours, plain", options.batches)]
    if not options.only_ours:
        if compiled:
            results += measure_plain_python(options.batches)
        results.append(measure_sockets(options.batches))
        results.append(measure_openssl(options.batches))
        results.append(measure_bare(options.batches))
    if options.json:
        print(json.dumps([attrs.asdict(result) for result in results]))
        return
    print(f"{'µs per record of 1,350 bytes':34}{'seal':>8}{'open':>8}")
    for result in results:
        print(f"{result.name:34}{result.seal:8.2f}{result.open:8.2f}")


if __name__ == "__main__":
    main()
