"""Traffic through a tunnel, from the first gateway to the second: by iperf3, or by our probe.

iperf3 does all that is measured. Where it is not installed, the lab's own probe does single TCP
streams, slower, since it hashes what it carries; figures of the two must not be compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import which
from typing import Any

import attrs

from bench.side_by_side.network import SECOND, RunFailed, Tunnel
from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import Process, wait_until
from polevpn_trio.lab.overlay import python_path

_PORT = 5201
_PROBE = [sys.executable, "-m", "polevpn_trio.lab.probes"]

LISTEN_TIMEOUT = 5.0
"""Seconds for the receiving program to listen."""

END_TIMEOUT = 30.0
"""Seconds that a transfer may take beyond its time."""

LOSS_LIMIT = 0.001
"""Share of datagrams that may be lost at a rate that still counts as carried."""

DELIVERED_AT_LEAST = 0.95
"""Share of the datagrams sent that must arrive within the time of sending.

iperf3 counts gaps, so it takes for no loss what stands in a queue when the time is over.
"""

SEARCH_STEP = 1.5
"""By what a rate is multiplied or divided while its limit is not yet between two tries."""

SEARCH_PRECISION = 1.05
"""How far apart, as a ratio, the rates may be between which a search ends."""

SEARCH_TRIES = 12
"""Most rates tried in one search."""


@attrs.frozen
class Streams:
    """TCP streams in both directions at once, Mbit/s of payload."""

    forward: float
    backward: float
    slowest: float
    """The slowest stream of all."""


@attrs.frozen
class Datagrams:
    """What came of UDP datagrams sent at some rate."""

    sent_per_second: float
    received_per_second: float
    loss: float
    """Share lost on the way."""

    @property
    def carried(self) -> bool:
        """Whether the path carried this rate, rather than losing or hoarding a part."""
        kept = self.received_per_second >= DELIVERED_AT_LEAST * self.sent_per_second
        return kept and self.loss < LOSS_LIMIT


def has_iperf3() -> bool:
    """Whether the traffic comes from iperf3 rather than from our probe."""
    return which("iperf3") is not None


def generator() -> str:
    """Name the program that makes the traffic, with its version."""
    if not has_iperf3():
        return "probe of this package, TCP only (iperf3 is not installed)"
    said = subprocess.run(["iperf3", "--version"], capture_output=True, text=True, check=False)
    return " ".join(said.stdout.split()[:2])


# --- TCP


def one_stream(tunnel: Tunnel, seconds: float, *, reverse: bool = False) -> tuple[float, int]:
    """Run one TCP stream, ``reverse``: towards the first gateway; return Mbit/s and bytes."""
    if has_iperf3():
        end = _iperf3(tunnel, seconds, ["-R"] if reverse else [])
        received = end["sum_received"]
        return received["bits_per_second"] / 1e6, int(received["bytes"])
    result = _probe(tunnel, seconds, reverse=reverse)
    return result.megabits_per_second, result.transferred


def streams_both_ways(tunnel: Tunnel, seconds: float, each_way: int) -> Streams:
    """Run several TCP streams in each direction at the same time; needs iperf3."""
    end = _iperf3(tunnel, seconds, ["-P", str(each_way), "--bidir"])
    return Streams(
        forward=end["sum_received"]["bits_per_second"] / 1e6,
        backward=end["sum_received_bidir_reverse"]["bits_per_second"] / 1e6,
        slowest=min(one["receiver"]["bits_per_second"] for one in end["streams"]) / 1e6,
    )


@attrs.frozen
class Transfer:
    """What came of a TCP stream."""

    megabits_per_second: float
    """Of payload, as received."""
    transferred: int
    """Bytes of payload received."""
    segment: int
    """Largest segment that the sender made, bytes of payload; 0 where that is not known."""


@attrs.frozen
class Bulk:
    """A single TCP stream that runs while something else is measured."""

    seconds: float
    _client: Process
    _server: Process

    @classmethod
    def start(cls, tunnel: Tunnel, seconds: float, options: Sequence[str] = ()) -> Bulk:
        """Start it; ``options`` are for the program that sends."""
        server = _serve(tunnel)
        words = _client_words(tunnel, seconds, options)
        environment = python_path()
        client = tunnel.network.first.start(words, name="bulk", environment=environment)
        return cls(seconds, client, server)

    def finish(self) -> float:
        """Wait for its end; return Mbit/s."""
        return self.transfer().megabits_per_second

    def transfer(self) -> Transfer:
        """Wait for its end. Raises RunFailed."""
        try:
            status = self._client.wait(self.seconds + END_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            self._client.kill()
            raise RunFailed("the bulk transfer does not end") from error
        finally:
            self._server.stop()
        said = self._client.log()
        if status:
            raise RunFailed(f"the bulk transfer failed: {said[-300:].strip()}")
        answer = json.loads(said)
        if has_iperf3():
            received = answer["end"]["sum_received"]
            segment = answer["start"]["tcp_mss_default"]
            return Transfer(received["bits_per_second"] / 1e6, received["bytes"], segment)
        result = probes.TransferResult.from_json(answer)
        return Transfer(result.megabits_per_second, result.transferred, 0)


# --- UDP


def datagrams(
    tunnel: Tunnel, seconds: float, size: int, per_second: float | None = None
) -> Datagrams:
    """Send datagrams of ``size`` bytes of payload, unpaced without a rate; needs iperf3."""
    bits = 0 if per_second is None else max(round(per_second * size * 8), 1)
    buffer = str(socket_buffer())
    end = _iperf3(tunnel, seconds, ["-u", "-l", str(size), "-b", str(bits), "-w", buffer])
    sent, arrived = end["sum_sent"], end["sum_received"]
    expected = max(arrived["packets"], 1)
    return Datagrams(
        sent_per_second=sent["packets"] / sent["seconds"],
        received_per_second=(arrived["packets"] - arrived["lost_packets"]) / arrived["seconds"],
        loss=max(arrived["lost_packets"], 0) / expected,
    )


def carried_rate(tunnel: Tunnel, seconds: float, size: int) -> float:
    """Search the highest rate of datagrams that is carried; return those received in a second.

    A rate at which datagrams get lost is given a second chance: on a machine with few
    processors a moment's absence of the receiving program costs as many as the limit allows.
    """

    def attempt(rate: float) -> float | None:
        for _ in range(2):
            result = datagrams(tunnel, seconds, size, rate)
            if result.carried:
                return result.received_per_second
        return None

    flooded = datagrams(tunnel, seconds, size)
    if flooded.carried:
        return flooded.received_per_second
    return search_rate(attempt, max(flooded.received_per_second, 1.0))


def search_rate(attempt: Callable[[float], float | None], start: float) -> float:
    """Find the highest rate for which ``attempt`` gives a figure; return the best figure.

    ``attempt(rate)`` returns what was achieved at a rate, or None where the rate was too high.
    The search goes by `SEARCH_STEP` from ``start`` until the limit lies between two tries, then
    halves that interval (geometrically) down to `SEARCH_PRECISION`; 0.0 if nothing succeeded.
    """
    good: float | None = None
    bad: float | None = None
    best = 0.0
    rate = start
    for _ in range(SEARCH_TRIES):
        achieved = attempt(rate)
        if achieved is None:
            bad = rate
        else:
            good = rate
            best = max(best, achieved)
            if achieved < rate / SEARCH_STEP:
                # The sender cannot send what it is asked to: a higher rate is the same rate.
                return best
        if good is None:
            rate /= SEARCH_STEP
        elif bad is None:
            rate *= SEARCH_STEP
        elif bad / good < SEARCH_PRECISION:
            break
        else:
            rate = (good * bad) ** 0.5
    return best


def socket_buffer() -> int:
    """Bytes of socket buffer that iperf3 asks for: what any program may have here."""
    limits = []
    for direction in ("rmem_max", "wmem_max"):
        try:
            limits.append(int(Path(f"/proc/sys/net/core/{direction}").read_text()))
        except OSError:
            # Not shown in a network namespace other than the first: the kernel's own default.
            limits.append(212_992)
    return min(limits)


# --- The programs


def _client_words(tunnel: Tunnel, seconds: float, options: Sequence[str]) -> list[str]:
    if has_iperf3():
        if not {"-C", "-u"} & set(options):
            options = [*options, "-C", tunnel.network.congestion]
        # iperf3 takes whole seconds only.
        whole = str(max(round(seconds), 1))
        return ["iperf3", "-c", SECOND, "-p", str(_PORT), "-t", whole, "-J", *options]
    return [*_PROBE, "tcp", SECOND, str(_PORT), "--seconds", str(seconds), *options]


def _serve(tunnel: Tunnel) -> Process:
    """Start the receiving end for one test and wait until it listens."""
    host = tunnel.network.second
    if has_iperf3():
        words = ["iperf3", "-s", "-1", "-p", str(_PORT)]
    else:
        words = [*_PROBE, "tcp-server", str(_PORT), "--connections", "1"]
    server = host.start(words, name="server", environment=python_path())
    try:
        wait_until(lambda: host.listens("tcp", _PORT), LISTEN_TIMEOUT, "the receiver to listen")
    except TimeoutError:
        server.stop()
        raise
    return server


def _run_client(tunnel: Tunnel, seconds: float, options: Sequence[str]) -> dict[str, Any]:
    server = _serve(tunnel)
    try:
        done = tunnel.network.first.run(
            _client_words(tunnel, seconds, options),
            timeout=seconds + END_TIMEOUT,
            environment=python_path(),
        )
    except subprocess.TimeoutExpired as error:
        raise RunFailed("the transfer does not end") from error
    finally:
        server.stop()
    tunnel.check()
    if done.returncode:
        raise RunFailed(f"the transfer failed: {(done.stdout + done.stderr)[-300:].strip()}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        # Some of its versions say so with a status of 0.
        raise RunFailed(f"the transfer failed: {answer['error']}")
    return answer


def _iperf3(tunnel: Tunnel, seconds: float, options: Sequence[str]) -> dict[str, Any]:
    end: dict[str, Any] = _run_client(tunnel, seconds, options)["end"]
    return end


def _probe(tunnel: Tunnel, seconds: float, *, reverse: bool) -> probes.TransferResult:
    direction = "down" if reverse else "up"
    answer = _run_client(tunnel, seconds, ["--direction", direction])
    return probes.TransferResult.from_json(answer)
