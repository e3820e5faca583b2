"""Counting allocations: the counter itself, in a small program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.profiling import allocations
from bench.profiling.allocations import Allocations
from polevpn_trio import kernels
from polevpn_trio.lab.overlay import python_path

MADE = 100_000
"""Objects that the small program makes; without them it makes fewer than this itself."""

Count = Callable[[str], Allocations]

BATCHES = 300
FEW, MANY = 2, 32
"""Datagrams in a batch."""

CARRY = """
from polevpn_trio.kcp.conversation import Conversation
from polevpn_trio.transport.records import RecordOpener, RecordSealer

sender, receiver = (Conversation(send_window=1024, receive_window=1024) for _ in range(2))
sealer = RecordSealer(bytes(16), bytes(4), 1, 1 << 63)
opener = RecordOpener(bytes(16), bytes(4))
piece = bytes({size} * {count})
now = 1.0
for _ in range({batches}):
    now += 0.01
    sender.send(piece)
    made = sender.poll_datagrams(now)
    assert made == {count}, made
    sealer.seal_batch(sender.datagrams, sender.sizes, made)
    whole = memoryview(sealer.datagrams)[: made * sealer.sizes[0]]
    assert opener.open_batch_untrusted(whole, sealer.sizes[0]) == made
    receiver.receive_datagrams_untrusted(opener.datagrams, opener.sizes, made, now)
    assert len(receiver.receive()) == len(piece)
    made = receiver.poll_datagrams(now)
    sender.receive_datagrams_untrusted(receiver.datagrams, receiver.sizes, made, now)
"""
SIZE = 1326
"""Payload of a full KCP segment, bytes."""


@pytest.fixture(scope="module")
def count(tmp_path_factory: pytest.TempPathFactory) -> Count:
    """Give a function that runs a program under the counter."""
    reason = allocations.unavailable_reason()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("counts")
    library = allocations.build(folder)

    def run(program: str) -> Allocations:
        with allocations.counting(library, folder):
            process = subprocess.Popen(
                [sys.executable, "-c", program], env={**os.environ, **python_path()}
            )
        assert process.wait() == 0
        return allocations.read(folder, process.pid)

    return run


def test_every_block_and_every_object_is_counted_once(count: Count) -> None:
    nothing = count("for i in range(0): pass")
    many = count(f"for i in range({MADE}): [i]")
    # A block for the items of each list, and one for each integer that is not always there. The
    # list itself is taken from those that were given up before, without a block.
    assert MADE * 1.9 < many.blocks - nothing.blocks < MADE * 2.1
    if not many.objects:
        pytest.skip("this interpreter does not let its objects be counted")
    made = many.since(nothing)
    assert MADE <= made.types["list"] < MADE * 1.01
    assert MADE * 0.99 <= made.types["int"] < MADE * 1.01
    assert made.objects < MADE * 2.1


def test_the_kernels_of_a_kcp_link_allocate_nothing_for_a_datagram(count: Count) -> None:
    if not all(kernels.compiled().values()):
        pytest.skip("only compiled kernels calculate without objects")
    few, many = (
        count(CARRY.format(size=SIZE, count=number, batches=BATCHES)) for number in (FEW, MANY)
    )
    # What a batch costs is the same in both, so the rest would be for the datagrams: integers
    # beyond the small ones, in which the program itself holds lengths, are all there is.
    per_datagram = (many.blocks - few.blocks) / (BATCHES * (MANY - FEW))
    assert per_datagram < 0.5, many.since(few)


def test_what_was_not_started_under_the_counter_has_no_counts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        allocations.read(tmp_path, 1)


def test_a_counter_that_is_not_in_use_is_not_taken_for_a_program_without_allocations(
    tmp_path: Path,
) -> None:
    (tmp_path / "1").write_bytes(bytes(16 + 64 * 1024))
    with pytest.raises(ValueError, match="counts no allocations"):
        allocations.read(tmp_path, 1)


def test_the_environment_is_as_before_afterwards(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.delenv("POLEVPN_TRIO_ALLOCATION_COUNTS", raising=False)
    before = dict(os.environ)
    with allocations.counting(tmp_path / "counter.so", tmp_path):
        assert os.environ["LD_PRELOAD"] == str(tmp_path / "counter.so")
    assert dict(os.environ) == before


def test_it_says_that_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert allocations.unavailable_reason() == "there is no C compiler"
