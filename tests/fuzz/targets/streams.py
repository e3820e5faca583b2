"""What a TLS connection hears: records, and in them whatever an authenticated peer may say."""

from __future__ import annotations

from typing import Any

from tests.fuzz.builds import Build
from tests.fuzz.draw import Draw

_KEY, _IV = bytes(range(16)), bytes(range(100, 112))
_OURS, _THEIRS = bytes(range(32)), bytes(range(32, 64))
_SUITE = "TLS_AES_128_GCM_SHA256"
_PLAINTEXTS = (b"", b"a", bytes(range(48)), b"\x5a" * 300, bytes(17_000), b"last")
_MESSAGES = (
    bytes((24, 0, 0, 1, 0)),
    bytes((24, 0, 0, 1, 1)),
    bytes((4, 0, 0, 3)),
    bytes((4, 0, 1, 0)),
)
_DATA, _HANDSHAKE, _ALERT = 23, 22, 21


def tls_records(build: Build, draw: Draw) -> object:
    """What comes out is the beginning of what was sealed, however the stream is spoilt and cut."""
    module = build["transport.tls_records"]
    sealer = module.TlsSealer(_KEY, _IV)
    records = []
    for text in (*_PLAINTEXTS, *_PLAINTEXTS):
        target = bytearray(module.sealed_size(len(text)))
        records.append(bytes(target[: sealer.seal_into(_DATA, text, target)]))
    opener = module.TlsOpener(_KEY, _IV)
    trace: list[object] = []
    opened = held = b""
    number = 0
    while not draw.exhausted and not opener.failure:
        record = records[number % len(records)]
        number += 1
        match draw.byte() % 8:
            case 0:
                at = draw.word() % len(record)
                record = record[:at] + bytes((record[at] ^ draw.byte(),)) + record[at + 1 :]
            case 1:
                record = record[: draw.word()]
            case 2:
                record = draw.take(draw.byte())
            case 3:
                number += draw.byte() % 3
        held += record
        size = draw.of((len(held), len(held) // 2, min(5, len(held)), min(300, len(held))))
        source = bytearray(held[:size])
        target = bytearray(size)
        filled = opener.open_untrusted(source, 0, size, target, 0)
        assert opener.consumed <= size
        held = held[opener.consumed :]
        opened += target[:filled]
        trace.append((filled, opener.consumed, opener.sequence))
    assert (b"".join(_PLAINTEXTS) * 2).startswith(opened), "opened what nobody sealed"
    assert opener.kind == 0
    return trace, opener.failure


def tls_session(build: Build, draw: Draw) -> object:
    """Data arrives up to what must not be said; after that nothing, and an alert says so once."""
    session_module, module = build["transport.tls_session"], build["transport.tls_records"]
    session = draw.of(
        (
            session_module.OwnRecords.of_client(_SUITE, _OURS, _THEIRS),
            session_module.OwnRecords(_SUITE, _OURS, _THEIRS, 0),
        )
    )
    far = session_module.OwnRecords(_SUITE, _THEIRS, _OURS, 0)
    secret = _THEIRS
    sealer = _sealer(session_module, module, secret)
    received = sent = b""
    while not draw.exhausted:
        kind = draw.of((_DATA, _DATA, _HANDSHAKE, _HANDSHAKE, _ALERT, 20, 99))
        content = draw.of((draw.of(_PLAINTEXTS), draw.of(_MESSAGES), draw.take(draw.byte())))
        target = bytearray(module.sealed_size(len(content)))
        received += target[: sealer.seal_into(kind, content, target)]
        sent += content if kind == _DATA else b""
        if kind == _HANDSHAKE and content in _MESSAGES[:2] and draw.flag():
            secret = session_module.expand_label(secret, "traffic upd", 32, "sha256")
            sealer = _sealer(session_module, module, secret)
    opened = _hear(session, received)
    assert sent.startswith(opened), "heard what nobody said"
    assert not (session.ended and session.failure)
    assert _hear(session, received[: draw.word()]) == b"" or not _over(session)
    trace = (opened, session.ended, session.failure, session._alert)
    if not _over(session):
        assert _hear(far, bytes(session.seal(b"data"))) == b"data"
    words = session.last_words()
    assert _hear(far, words) == b""
    assert far.ended or far.failure or not words
    return trace


def _sealer(session_module: Any, module: Any, secret: bytes) -> Any:
    label = session_module.expand_label
    return module.TlsSealer(label(secret, "key", 16, "sha256"), label(secret, "iv", 12, "sha256"))


def _hear(session: Any, received: bytes) -> bytes:
    target = bytearray(len(received) + 17_000)
    return bytes(target[: session.open_untrusted(bytearray(received), len(received), target)])


def _over(session: Any) -> bool:
    return bool(session.ended or session.failure)
