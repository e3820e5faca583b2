"""AES-GCM of the machine's OpenSSL library, called without Python in between.

A call of ``cryptography`` for a packet spends two thirds of its time on Python objects and on
setting up the cipher. Compiled kernels therefore call OpenSSL's libcrypto itself, the one that
Python's ``ssl`` uses too, if it is found; the functions are in ``libcrypto.pxd``. This file
says the same to the plain Python build, where nothing can be called that way: no context can
be had, and `cryptography` it is.
"""

from __future__ import annotations

Bytes = bytes | bytearray | memoryview


def new_gcm(key: Bytes, sealing: bool) -> int:
    """Make a context for one direction under one key of 16 or 32 bytes.

    Returns 0 if there is no library to be called; use ``cryptography`` then.
    """
    del key, sealing
    return 0


def free_gcm(context: int) -> None:
    """Wipe and release a context; 0 is ignored."""
    del context


def seal_gcm(
    context: int,
    nonce: Bytes,
    additional: Bytes,
    source: Bytes,
    start: int,
    length: int,
    target: Bytes,
    at: int,
    trailer: int = -1,
) -> bool:
    """Encrypt ``length`` bytes of ``source``; write them and their 16-byte tag to ``target``.

    A ``trailer`` of 0 to 255 is encrypted as one byte more, behind them. The buffers must have the
    room; that is not checked. The nonce has 12 bytes. False if the library could not do it: the
    record must not be sent then.
    """
    raise NotImplementedError("only compiled kernels can call libcrypto")


def open_gcm(
    context: int,
    nonce: Bytes,
    additional: Bytes,
    source: Bytes,
    start: int,
    length: int,
    target: Bytes,
    at: int,
) -> bool:
    """Decrypt ``length`` bytes of ``source``, which its 16-byte tag follows, to ``target``.

    False if the tag is wrong: what is in ``target`` then is not what anybody sent.
    """
    raise NotImplementedError("only compiled kernels can call libcrypto")
