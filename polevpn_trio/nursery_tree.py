"""The tree of nurseries that both programs live in.

::

    router                                    gateway
    +- udp:443   DTLS listener                +- tun reader    TUN -> queue of the link
    +- tcp:443   TLS listener, wss too        +- tun writer    queue -> TUN
    +- site      when the router has one      +- connector     dial, reconnect, fall back
    |  +- tun reader                             +- kcp 192.0.2.1:443
    |  +- tun writer                                +- receiver      link -> site
    +- kcp 198.51.100.7:50412                       +- sender        queue -> link
    |  +- transport  timers, retransmission         +- heartbeat
    |  +- receiver   link -> routes                 +- keepalive     judges silence
    |  +- sender     queue -> link                  +- other path    (while it is silent)
    |  +- keepalive  login and idle limits          +- better path   (when on a fallback)
    |  +- leaving    to a new link, for new keys    +- renewal       a new link, for new keys
    |                                               +- settings      (when they change)
    +- tls 203.0.113.9:51007 ...

Every connection is a nursery of its own: whatever fails in there ends that connection and
nothing else. Tasks hand each other batches of packets through bounded memory channels.
Shutdown is nesting: cancelling a nursery ends what is below it first, and the context managers
around it (TUN device, routes, sockets) are left after that.

A `Branch` is a nursery that knows its place in the tree, so that the tree can be shown while
it lives.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from polevpn_trio.errors import LinkLost
from polevpn_trio.transport.base import Link
from polevpn_trio.transport.containment import contained
from polevpn_trio.transport.eager import reading_eagerly

Statistics = Callable[[], object]


@attrs.frozen
class NodeSnapshot:
    """A nursery or task as it is now: ``age`` in seconds; ``statistics`` reads its counters."""

    name: str
    age: float
    statistics: Statistics | None
    children: tuple[NodeSnapshot, ...]

    def render(self, indent: int = 0) -> str:
        """Draw this node and what is below it, a line each."""
        lines = [f"{'   ' * indent}{self.name}  {self.age:.0f} s"]
        lines += [child.render(indent + 1) for child in self.children]
        return "\n".join(lines)


@attrs.define(eq=False)
class _Node:
    name: str
    started: float = attrs.field(factory=trio.current_time)
    statistics: Statistics | None = None
    children: list[_Node] = attrs.field(factory=list)

    def snapshot(self, now: float) -> NodeSnapshot:
        return NodeSnapshot(
            self.name,
            now - self.started,
            self.statistics,
            tuple(child.snapshot(now) for child in self.children),
        )


class Branch:
    """A nursery with a name, and named tasks and nurseries below it."""

    def __init__(self, node: _Node, nursery: trio.Nursery) -> None:
        self._node = node
        self.nursery = nursery

    def start_soon(
        self, name: str, task: Callable[[], Awaitable[object]], statistics: Statistics | None = None
    ) -> None:
        """Run a task in this nursery under ``name``."""
        self.nursery.start_soon(self._run, name, task, statistics, name=name)

    async def _run(
        self, name: str, task: Callable[[], Awaitable[object]], statistics: Statistics | None
    ) -> None:
        with self._grown(name, statistics):
            await task()

    async def start(
        self,
        name: str,
        service: Callable[..., Awaitable[object]],
        statistics: Statistics | None = None,
    ) -> None:
        """Run a service in this nursery under ``name``; return once it reports started."""
        await self.nursery.start(self._run_service, name, service, statistics, name=name)

    async def _run_service(
        self,
        name: str,
        service: Callable[..., Awaitable[object]],
        statistics: Statistics | None,
        *,
        task_status: trio.TaskStatus[object],
    ) -> None:
        with self._grown(name, statistics):
            await service(task_status=task_status)

    def _grown(self, name: str, statistics: Statistics | None = None) -> _Grown:
        return _Grown(self._node, _Node(name, statistics=statistics))

    @asynccontextmanager
    async def branch(
        self, name: str, statistics: Statistics | None = None
    ) -> AsyncIterator[Branch]:
        """Open a nursery below this one, in the calling task."""
        with self._grown(name, statistics) as node:
            async with trio.open_nursery() as nursery:
                yield Branch(node, nursery)

    def snapshot(self) -> NodeSnapshot:
        """Return the live tree from here down."""
        return self._node.snapshot(trio.current_time())


class _Grown:
    """Keeps a node in the tree while its body runs."""

    def __init__(self, parent: _Node, node: _Node) -> None:
        self._parent = parent
        self._node = node

    def __enter__(self) -> _Node:
        self._parent.children.append(self._node)
        return self._node

    def __exit__(self, *_: object) -> None:
        self._parent.children.remove(self._node)


@asynccontextmanager
async def open_root(name: str) -> AsyncIterator[Branch]:
    """Open the nursery at the root of a program's tree."""
    with reading_eagerly():
        async with trio.open_nursery() as nursery:
            yield Branch(_Node(name), nursery)


async def run_connection(
    parent: Branch,
    link: Link,
    tasks: Mapping[str, Callable[[], Awaitable[None]]],
    statistics: Statistics,
) -> Exception:
    """Be the nursery of one connection until it ends; return why it ended.

    ``tasks`` are those of the connection, by name. The first that ends, by an error
    or not, ends the others. The link is closed when this returns. The connection's errors end
    here: a fault of ours in there is logged and ends that connection, never the program.
    """
    try:
        with contained(f"{link.scheme} {link.peer}") as outcome:
            async with parent.branch(f"{link.scheme} {link.peer}", statistics) as branch:

                async def first_to_end(task: Callable[[], Awaitable[None]]) -> None:
                    await task()
                    branch.nursery.cancel_scope.cancel()

                for name, task in tasks.items():
                    branch.start_soon(name, partial(first_to_end, task))
    finally:
        link.close()
    return outcome.error or LinkLost("the connection was ended")
