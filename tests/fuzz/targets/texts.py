"""Texts: the JSON of logins and registrations, requests of HTTP, and configuration files."""

from __future__ import annotations

import base64
import datetime
import json
import zlib
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.fuzz.builds import Build
from tests.fuzz.draw import Draw, cut

NOWHERE = Path("/nonexistent/fuzzed.json")
MAX_BODY = 65535 - 8


def messages(build: Build, draw: Draw) -> object:
    """A body is read to something that reads the same again once it is written."""
    module = build["frames.messages"]
    names = ("AuthRequest", "AuthAnswer", "RegisterRequest", "RegisterAnswer")
    kind = getattr(module, draw.of(names))
    message = kind.from_json_untrusted(draw.rest())
    written = message.to_json()
    again = kind.from_json_untrusted(written)
    assert again.to_json() == written
    if hasattr(message, "unusable"):
        assert again.unusable == 0
        assert len(message.networks) <= MAX_BODY
    else:
        assert again == message
    assert not {b"<"[0], b">"[0], b"&"[0]} & set(written)
    return written


KEY = "correct horse"


def registration(build: Build, draw: Draw) -> object:
    """Nobody gets anywhere without the key, whatever is sent in whatever order."""
    module, codec = build["control.registration"], build["frames.codec"]
    session = module.RouterSession(_judge(build), offer_native=draw.flag())
    knew_the_key = False
    trace: list[object] = []
    while not draw.exhausted:
        body = draw.of((b"", b"{}", _login(KEY), _login("wrong"), draw.piece()))
        command, sequence = draw.of((0, 0, 1, 4, 2, draw.word())), draw.word32()
        try:
            actions = session.receive_control_untrusted(command, sequence, body)
        except build["errors"].BadPacket as error:
            trace.append(str(error))
            assert not knew_the_key
            break
        knew_the_key |= command == 0 and KEY in body.decode("utf-8", "replace")
        assert not session.accepts_data or knew_the_key
        for action in actions:
            answer = getattr(action, "answer", action)
            if hasattr(answer, "frame"):
                size, answered, number = codec._HEADER.unpack(answer.frame[:8])
                assert (size, answered, number) == (len(answer.frame), command, sequence)
        trace.append([type(action).__name__ for action in actions])
    return trace, session.state.name, sorted(session.native or ())


def _judge(build: Build) -> Callable[[object], object]:
    """Give what decides who may log in; made once, since keys are stretched at a price."""
    if "authenticator" not in build.kept:
        build.kept["authenticator"] = build["control.authentication"].Authenticator(KEY)
    authenticator: Any = build.kept["authenticator"]
    identity = build["control.session_identity"].SessionIdentity(bytes(32), bytes(32))
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

    def judge(request: object) -> object:
        return authenticator.judge_untrusted(request, identity, now)

    return judge


def _login(key: str) -> bytes:
    return json.dumps({"key": key, "native": {"version": 1, "features": ["ipv6"]}}).encode()


def configuration(build: Build, draw: Draw) -> object:
    """A file is taken or refused with a reason that names it, in one line."""
    module = build["control.config"]
    parse = draw.of((module.parse_router, module.parse_gateway))
    text = draw.rest().decode("utf-8", "replace")
    try:
        config = parse(NOWHERE, text)
    except build["errors"].ConfigError as error:
        return _complaint(error)
    # Without a key, known sites or a certificate say who is who.
    assert config.key or getattr(config, "sites", None) or getattr(config, "certificate", None)
    return repr(config)


def _complaint(error: Exception) -> str:
    text = _one_line(error)
    assert text.startswith(str(NOWHERE))
    return text


def _one_line(error: Exception) -> str:
    text = str(error)
    assert "\n" not in text
    return text


def join_string(build: Build, draw: Draw) -> object:
    """A string is refused in one line, or is a configuration that can be written and read again."""
    module = build["control.join_string"]
    body = draw.rest()
    if body[:1] == b"{":
        # Behind a good checksum, which changes at random never get past.
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=module._DICTIONARY)
        body = deflate.compress(body) + deflate.flush()
        body = b"polevpn://v1/" + base64.urlsafe_b64encode(
            zlib.crc32(body).to_bytes(4) + body
        ).rstrip(b"=")
    try:
        values = module.read_join_string(body.decode("utf-8", "replace"))
    except build["errors"].ConfigError as error:
        return _one_line(error)
    assert module.read_join_string(module.write_join_string(values)) == values
    return values


def known_routers(build: Build, draw: Draw) -> object:
    """A file says whom we know, whoever wrote it, or is refused with its name and the line."""
    module = build["control.known_routers"]
    text = draw.rest().decode("utf-8", "replace")
    try:
        known = module.parse(NOWHERE, text)
    except module.Unreadable as error:
        return _complaint(error)
    lines = text.splitlines()
    for one in known:
        assert len(one.fingerprint) == 32
        assert lines[one.line - 1].split()[0] == one.url
    written = "".join(f"{one.url} sha256:{one.fingerprint.hex()}\n" for one in known)
    again = module.parse(NOWHERE, written)
    assert [(one.url, one.fingerprint) for one in again] == [
        (one.url, one.fingerprint) for one in known
    ]
    return known


def commented_json(build: Build, draw: Draw) -> object:
    """Without comments in it, JSON is what Python's own reader takes it for."""
    text = draw.rest().decode("utf-8", "replace")
    try:
        value = build["control.commented_json"].parse(NOWHERE, text)
    except build["errors"].ConfigError as error:
        return _complaint(error)
    if "//" not in text:
        plain = json.loads(text)
        if not any(len(word) > 30 for word in text.split()):
            assert json.dumps(value) == json.dumps(plain)
    return sorted(value)


def addresses(build: Build, draw: Draw) -> object:
    """An address is taken or refused with a reason."""
    module = build["control.addresses"]
    parse = draw.of(
        (
            module.parse_listen,
            module.parse_url,
            module.parse_gateway,
            module.parse_gateway6,
            module.parse_network,
            module.is_interface_name,
        )
    )
    try:
        return parse(draw.rest().decode("utf-8", "replace"))
    except module.AddressMistake as mistake:
        return str(mistake)


def router_answers(build: Build, draw: Draw) -> object:
    """What a router answers to the doctor is understood, or passed over."""
    if draw.byte() & 1:
        answer = draw.rest()
        date = build["doctor.path_probes"].date_untrusted(answer)
        assert date is None or (date.tzinfo is not None and b":" in answer)
        return date
    datagram = draw.rest()
    is_answer = build["doctor.client_hello"].is_answer_untrusted(datagram)
    assert not is_answer or len(datagram) > 13
    return is_answer


def http_request(build: Build, draw: Draw) -> object:
    """Requests are found, or refused with the same status, however their bytes are cut."""
    places = draw.cuts()
    stream = draw.rest()
    at_once = _read_requests(build, [stream])
    assert at_once == _read_requests(build, cut(stream, places))
    return at_once


def _read_requests(build: Build, pieces: list[bytes]) -> tuple[list[object], int, bytes]:
    module = build["transport.http_request"]
    reader = module.RequestReader()
    found: list[object] = []
    for piece in pieces:
        try:
            request = reader.receive_data_untrusted(piece)
            while request is not None:
                assert request.path.startswith("/") or request.method in ("OPTIONS", "CONNECT")
                assert request.minor == 0 or request.fields["host"] is not None
                found.append((request.method, request.target, request.minor, request.fields))
                request = reader.receive_data_untrusted(b"")
        except module.BadRequest as error:
            return found, HTTPStatus(error.status), b""
        assert len(reader.rest) <= module.MAX_HEAD
    return found, 0, reader.rest


def control_request(build: Build, draw: Draw) -> object:
    """A line on the control socket is a request, or ends in an answer that says why it is none."""
    api, writing = build["management.api"], build["management.writing"]
    request = None
    try:
        request = api.parse_request_untrusted(draw.rest())
        params = api.Params(request.params)
        found = (
            params.whole("most", 100, 1000),
            params.seconds("over", 0.0, 60.0),
            params.flag("follow"),
            str(params.address("source")) if "source" in request.params else "",
        )
        params.finish()
        assert 0 <= found[0] <= 1000
        assert 0 <= found[1] <= 60
        answer = "".join(writing.answer_pieces(request, found))
    except api.ApiError as error:
        answer = writing.error_line(request, error)
    assert answer.endswith("\n")
    assert "\n" not in answer[:-1]
    assert json.loads(answer)["version"] == 1
    return answer


SITE_NAME = "berlin"


def login_proof(build: Build, draw: Draw) -> object:
    """Only the proof of this key, for this name and this session, lets a site in."""
    proofs, messages = build["control.login_proof"], build["frames.messages"]
    if "proofs" not in build.kept:
        key = proofs.SiteKey.derive(KEY, SITE_NAME)
        site = build["control.site_directory"].KnownSite(
            SITE_NAME, NOWHERE, verifiers=(key.verifier,)
        )
        sites = build["control.site_directory"].SiteDirectory({SITE_NAME: site})
        build.kept["proofs"] = (key, build["control.authentication"].Authenticator("", sites))
    kept: Any = build.kept["proofs"]
    key, authenticator = kept
    identify = build["control.session_identity"].SessionIdentity
    ours = identify(bytes(32), bytes(32))
    session = identify(*(_changed(draw, part) for part in (bytes(32), bytes(32))))
    right = key.prove(ours)
    proof = _changed(draw, right)
    name = draw.of((SITE_NAME, SITE_NAME, "", "Berlin", draw.take(8).decode("latin-1")))
    offer = messages.NativeOffer(1, (), name=name, proof=proof)
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    judged = authenticator.judge_untrusted(messages.AuthRequest("", offer), session, now)
    admitted = type(judged).__name__ == "Admitted"
    assert admitted == (name == SITE_NAME and proof == right and session == ours)
    return admitted, getattr(judged, "cause", ""), getattr(judged, "proof", b"")


def _changed(draw: Draw, data: bytes) -> bytes:
    """Change a byte, or cut or lengthen it, or leave it as it is."""
    match draw.byte() % 8:
        case 0 if data:
            at = draw.byte() % len(data)
            return data[:at] + bytes((data[at] ^ draw.byte(),)) + data[at + 1 :]
        case 1:
            return data[: draw.byte() % (len(data) + 1)]
        case 2:
            return data + draw.take(draw.byte() % 4)
        case 3:
            return draw.take(len(data))
        case _:
            return data
