"""A program for tests: opens a TUN device, applies host settings, and waits for a signal.

``python host_program.py JSON`` with the members of HostSettings (networks as text) and
``peers``, a list of lists of addresses: the first is kept reachable from the start, each
SIGUSR1 moves on to the next one, and after that to the next of ``changes``: routes, forward, and
masquerade that differ from what was there in the beginning. SIGTERM cancels. Every step is
printed as one line. With ``make_device`` false, the interface is there already.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import attrs
import pytun
import trio

from polevpn_trio.errors import HostError
from polevpn_trio.tun.host_network import HostSettings, applied


async def run(wanted: dict[str, Any]) -> None:
    peers = [[ipaddress.ip_address(each) for each in step] for step in wanted.pop("peers", [[]])]
    changes = wanted.pop("changes", [])
    settings = HostSettings(
        interface=wanted.pop("interface", "pole0"),
        mtu=wanted.pop("mtu", 1400),
        addresses=tuple(map(ipaddress.ip_interface, wanted.pop("addresses", []))),
        routes=tuple(map(ipaddress.ip_network, wanted.pop("routes", []))),
        state_directory=Path(wanted.pop("state_directory", "/run/polevpn_trio")),
        **wanted,
    )
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGUSR1) as signals:
        async with trio.open_nursery() as nursery:

            async def obey() -> None:
                async with applied(settings, keep_reachable=peers[0]) as host:
                    said = host.statistics()
                    print("ready", said.changes, *said.pinned, flush=True)
                    for step in peers[1:]:
                        await turns.receive()
                        await host.keep_reachable(step)
                        said = host.statistics()
                        print("ready", said.changes, *said.pinned, flush=True)
                    for change in changes:
                        await turns.receive()
                        if "routes" in change:
                            change["routes"] = tuple(map(ipaddress.ip_network, change["routes"]))
                        try:
                            await host.change(attrs.evolve(settings, **change))
                        except HostError as error:
                            print("ready", "refused:", error, flush=True)
                        else:
                            print("ready", host.statistics().changes, flush=True)
                    await trio.sleep_forever()

            send_turn, turns = trio.open_memory_channel[None](10)
            nursery.start_soon(obey)
            async for number in signals:
                if number == signal.SIGTERM:
                    nursery.cancel_scope.cancel()
                    break
                await send_turn.send(None)
    print("ended", flush=True)


def main() -> None:
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    wanted = json.loads(sys.argv[1])
    device = None
    if wanted.pop("make_device", True):
        # Held open: the device ends with the process.
        device = pytun.TunTapDevice(
            name=wanted.get("interface", "pole0"), flags=pytun.IFF_TUN | pytun.IFF_NO_PI
        )
    try:
        trio.run(run, wanted)
    except* HostError as group:
        print("HostError:", *group.exceptions)
        sys.exit(1)
    finally:
        if device is not None:
            device.close()


if __name__ == "__main__":
    main()
