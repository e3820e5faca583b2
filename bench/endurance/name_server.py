"""A name server that knows one name: ``python -m bench.endurance.name_server NAME ADDRESS``.

It answers questions for an IPv4 address with that one, and all others with "no such record"
(RFC 1035). Stop it by a signal, and it is silent.
"""

from __future__ import annotations

import socket
import struct
import sys
from ipaddress import IPv4Address

PORT = 53

_HEADER = struct.Struct("!HHHHHH")
"""Identifier, flags, and how many questions, answers, authorities, and additional records."""

_QUESTION = struct.Struct("!HH")
"""Type and class, behind the name."""

_ANSWER = struct.Struct("!HHHIH4s")
"""Pointer to the name, type, class, seconds to live, length, and an IPv4 address."""

_RESPONSE = 0x8580
"""A response with authority; recursion was asked for and is available."""

_TYPE_A, _CLASS_IN = 1, 1
_NAME_OF_QUESTION = 0xC000 | _HEADER.size


def answer(query: bytes, name: str, address: IPv4Address) -> bytes:
    """Answer a query of one question. Raises ValueError for anything else."""
    try:
        identifier, _, questions, *_ = _HEADER.unpack_from(query)
        end = _HEADER.size
        labels = []
        while length := query[end]:
            labels.append(query[end + 1 : end + 1 + length].decode("ascii").lower())
            end += 1 + length
        kind, family = _QUESTION.unpack_from(query, end + 1)
    except (struct.error, IndexError) as error:
        raise ValueError("not a query") from error
    if questions != 1:
        raise ValueError("not one question")
    question = query[_HEADER.size : end + 1 + _QUESTION.size]
    known = (".".join(labels), kind, family) == (name, _TYPE_A, _CLASS_IN)
    record = _ANSWER.pack(_NAME_OF_QUESTION, _TYPE_A, _CLASS_IN, 0, 4, address.packed)
    header = _HEADER.pack(identifier, _RESPONSE, 1, int(known), 0, 0)
    return header + question + (record if known else b"")


def main(name: str, address: str) -> None:
    """Answer for ever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", PORT))
        print("listening", flush=True)
        while True:
            query, client = sock.recvfrom(4096)
            try:
                sock.sendto(answer(query, name, IPv4Address(address)), client)
            except ValueError as error:
                print(error, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
