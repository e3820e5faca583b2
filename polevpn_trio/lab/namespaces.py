"""Small networks of Linux network namespaces: hosts, cables between them, programs on them.

Nothing but the kernel's own interfaces is used (unshare, setns, netlink), so iproute2 need not be
installed. ::

    with Lab() as lab:
        left, right = lab.host("left"), lab.host("right")
        lab.connect(left, "eth0", right, "eth0")
        left.add_addresses("eth0", "192.0.2.1/24")
        right.add_addresses("eth0", "192.0.2.2/24")
        left.run(["python3", "-m", "http.server", "--bind", "192.0.2.1"])

A `Host` is a network namespace and a mount namespace with its own empty ``/run``, which is where
its files and logs are. Both are held by open file descriptors and one thread of this process,
not by names in the file system: when the process ends, by whatever cause, the kernel takes the
namespaces, the devices in them and the files away, and kills the programs (see `enter`).
"""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from pyroute2 import IPRoute

from polevpn_trio.errors import HostError
from polevpn_trio.lab import enter
from polevpn_trio.lab.host_state import HostState, read_host_state

_P = ParamSpec("_P")
_T = TypeVar("_T")

STOP_TIMEOUT = 5.0
"""Seconds that a program gets between SIGTERM and SIGKILL."""

LINK_TIMEOUT = 5.0
"""Seconds for the kernel to notice that a link came up; it takes up to one."""

POLL_INTERVAL = 0.02
"""Longest time in seconds between two looks at a condition that is waited for."""

RULE_PRIORITY = 5
"""Of the rules that `Host.dropping` adds: behind the local table (0), before all else."""

_ROUTE_BLACKHOLE = "blackhole"
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}


def unavailable_reason() -> str | None:
    """Say in one line why this process cannot build namespaces with TUN devices, or None."""
    try:
        check_permitted()
    except HostError as error:
        return str(error)
    return None


def check_permitted() -> None:
    """Raise HostError, in one line, unless namespaces and TUN devices can be made here."""
    _check_tun()
    with ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(enter.unshare, enter.CLONE_NEWNET | enter.CLONE_NEWNS).result()
        except OSError as error:
            raise HostError(
                f"network namespaces are not permitted here ({error.strerror}): "
                "run this as root, or where unprivileged user namespaces are allowed"
            ) from error


def _check_tun() -> None:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except FileNotFoundError:
        raise HostError(
            "/dev/net/tun is missing: load the tun module, or give this container the device"
        ) from None
    except OSError as error:
        raise HostError(f"/dev/net/tun cannot be opened: {error.strerror}") from error


def become_root_in_user_namespace() -> None:
    """Make an ordinary user's process root of a user namespace of its own; nothing for root.

    Must be called before the process starts a thread: the kernel refuses it afterwards.
    Raises HostError where unprivileged user namespaces are not allowed.
    """
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        return
    try:
        enter.unshare(enter.CLONE_NEWUSER)
        # The kernel wants setgroups given up before an ordinary user may map a group.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except OSError as error:
        raise HostError(
            f"unprivileged user namespaces are not permitted here ({error.strerror}): "
            "run this as root"
        ) from error


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> float:
    """Look at ``condition`` until it holds; return the seconds that took.

    Raises TimeoutError, naming ``what`` was waited for, after ``timeout`` seconds.
    """
    started = time.monotonic()
    pause = POLL_INTERVAL / 16
    while not condition():
        if time.monotonic() - started > timeout:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(pause)
        pause = min(pause * 2, POLL_INTERVAL)
    return time.monotonic() - started


class Process:
    """A program that runs on a host; stop it by `stop` or `kill`, or leave that to the lab."""

    def __init__(self, host: Host, name: str, popen: subprocess.Popen[bytes], log: str) -> None:
        self.host = host
        self.name = name
        self.stopped = False
        """Whether we ended the program, or tried to, rather than it itself."""
        self._popen = popen
        self._log = log

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit status as subprocess gives it; None while the program runs."""
        return self._popen.poll()

    def wait(self, timeout: float) -> int:
        """Wait for the program's end. Raises subprocess.TimeoutExpired."""
        return self._popen.wait(timeout)

    def send_signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def ask_to_stop(self) -> None:
        """Send SIGTERM, once: to many programs a second one means to drop everything."""
        if not self.stopped:
            self.stopped = True
            self._popen.terminate()

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """Ask the program to end, by SIGTERM, and kill it if it does not; return its status."""
        self.ask_to_stop()
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        self.stopped = True
        self._popen.kill()
        return self._popen.wait()

    def log(self) -> str:
        """What the program wrote so far, standard output and error together."""
        return self.host.call(Path(self._log).read_text, encoding="utf-8", errors="replace")

    def wait_for_output(self, text: str, timeout: float) -> float:
        """Wait until the program has written ``text``; return the seconds that took.

        Raises TimeoutError, or ChildProcessError when the program ended without it.
        """

        def written() -> bool:
            ended = self.returncode is not None
            if text in self.log():
                return True
            if ended:
                raise ChildProcessError(f"{self.name} ended: {self.log_tail(3)}")
            return False

        return wait_until(written, timeout, f"{self.name} to say {text!r}")

    def log_tail(self, lines: int = 20) -> str:
        return "\n".join(self.log().splitlines()[-lines:])


class Host:
    """One network namespace; made by `Lab.host`."""

    FILES = Path("/run/lab")
    """Folder of the host's own files; seen only on this host."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.processes: list[Process] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"lab-{name}")
        try:
            self._net, self._mount = self._thread.submit(self._make).result()
        except OSError as error:
            self._thread.shutdown()
            raise HostError(f"cannot make a network namespace: {error}") from error
        self._netlink: Any = self.call(IPRoute)
        # Duplicate address detection would keep an IPv6 address unusable for its first second.
        with suppress(FileNotFoundError):
            self.set_sysctl("net.ipv6.conf.default.accept_dad", "0")
            self.set_sysctl("net.ipv6.conf.all.accept_dad", "0")
        self.set_link("lo", up=True)

    @classmethod
    def _make(cls) -> tuple[int, int]:
        enter.unshare(enter.CLONE_NEWNET | enter.CLONE_NEWNS)
        enter.mount_private_tmpfs("/run")
        cls.FILES.mkdir()
        return (
            os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC),
            os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC),
        )

    def close(self) -> None:
        """Stop what runs here and let go of the namespaces."""
        for process in self.processes:
            process.ask_to_stop()
        for process in self.processes:
            process.stop()
        self.call(self._netlink.close)
        self._thread.shutdown()
        os.close(self._net)
        os.close(self._mount)

    def call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a function in the host's thread and return its result.

        For short functions: calls wait for one another, and `close` waits for the last one.
        Sockets that it makes belong to this host wherever they are used later.
        """
        return self._thread.submit(function, *args, **kwargs).result()

    # --- Programs

    def _command(self, argv: Sequence[str | os.PathLike[str]]) -> list[str]:
        launcher = [sys.executable, "-I", "-S", enter.__file__]
        namespaces = [str(os.getpid()), str(self._net), str(self._mount)]
        return [*launcher, *namespaces, *(os.fspath(word) for word in argv)]

    def start(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        name: str = "",
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        descriptors: Sequence[int] = (),
    ) -> Process:
        """Start a program here; its output goes to a log file of the host.

        Only from the main thread: the kernel kills the program when the thread that started it
        ends. ``environment`` is added to this process's own, where the directory for what
        programs keep is the host's; the program inherits open ``descriptors`` under the same
        numbers.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("programs can be started by the main thread only")
        name = name or Path(os.fspath(argv[0])).name
        log = str(self.FILES / f"{len(self.processes)}-{name}.log")
        with self.call(open, log, "wb") as output:
            popen = subprocess.Popen(
                self._command(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(self._net, self._mount, *descriptors),
                # Ctrl-C on the terminal is for us; we stop the programs in order.
                start_new_session=True,
                env={**os.environ, "STATE_DIRECTORY": str(self.FILES), **(environment or {})},
                cwd=directory,
            )
        process = Process(self, name, popen, log)
        self.processes.append(process)
        return process

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        timeout: float,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, at most ``timeout`` seconds; its output is in the result.

        Raises subprocess.TimeoutExpired, the program being killed then.
        """
        return subprocess.run(
            self._command(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            pass_fds=(self._net, self._mount),
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )

    # --- Files

    def write_file(self, name: str, content: str | bytes, *, mode: int = 0o644) -> Path:
        """Write a file that only this host sees; return its path there."""
        path = self.FILES / name
        data = content.encode() if isinstance(content, str) else content

        def write() -> None:
            path.touch(mode)
            path.write_bytes(data)

        self.call(write)
        return path

    def set_sysctl(self, name: str, value: str) -> None:
        """Set a setting of the namespace, named as in ``net.ipv4.ip_forward``."""
        self.call(Path("/proc/sys", *name.split(".")).write_text, value)

    def forward_packets(self) -> None:
        """Make the host a router, for IPv4 and IPv6."""
        self.set_sysctl("net.ipv4.ip_forward", "1")
        self.set_sysctl("net.ipv6.conf.all.forwarding", "1")

    # --- Links, addresses, routes

    def _index(self, interface: str) -> int:
        found = self._netlink.link_lookup(ifname=interface)
        if not found:
            raise ValueError(f"{self.name} has no interface {interface}")
        return int(found[0])

    def set_link(
        self,
        interface: str,
        *,
        up: bool | None = None,
        mtu: int | None = None,
        queue: int | None = None,
    ) -> None:
        """Bring an interface up or down, or set its MTU (bytes) or transmit queue (packets)."""

        def change() -> None:
            index = self._index(interface)
            if mtu is not None:
                self._netlink.link("set", index=index, mtu=mtu)
            if queue is not None:
                self._netlink.link("set", index=index, txqlen=queue)
            if up is not None:
                self._netlink.link("set", index=index, state="up" if up else "down")

        self.call(change)

    def delete_link(self, interface: str) -> None:
        """Delete an interface; of a cable, both ends are gone."""
        self.call(lambda: self._netlink.link("del", index=self._index(interface)))

    def has_interface(self, interface: str) -> bool:
        """Whether there is an interface of this name."""
        return bool(self.call(self._netlink.link_lookup, ifname=interface))

    def is_up(self, interface: str) -> bool:
        """Whether an interface is up and has a carrier."""

        def look() -> bool:
            (link,) = self._netlink.get_links(self._index(interface))
            return bool(link.get("operstate") == "UP")

        return self.call(look)

    def counters(self, interface: str) -> Mapping[str, int]:
        """The kernel's counts since an interface was made, by their names in rtnetlink(7).

        Among them ``rx_packets``, ``rx_bytes`` and ``tx_dropped``.
        """

        def look() -> Mapping[str, int]:
            (link,) = self._netlink.get_links(self._index(interface))
            return dict(link.get("stats64"))

        return self.call(look)

    def add_addresses(self, interface: str, *addresses: str) -> None:
        """Give an interface addresses such as ``192.0.2.1/24`` or ``2001:db8::1/64``."""

        def add() -> None:
            index = self._index(interface)
            for text in addresses:
                address = ipaddress.ip_interface(text)
                self._netlink.addr(
                    "add",
                    index=index,
                    address=str(address.ip),
                    prefixlen=address.network.prefixlen,
                    family=_family(address),
                )

        self.call(add)

    def add_route(self, network: str, via: str) -> None:
        """Add a route; ``network`` may be ``0.0.0.0/0`` or ``::/0``."""
        self._change_route("add", network, via)

    def remove_route(self, network: str, via: str) -> None:
        self._change_route("del", network, via)

    def _change_route(self, command: str, network: str, via: str) -> None:
        family = _family(ipaddress.ip_network(network))
        self.call(self._netlink.route, command, dst=network, gateway=via, family=family)

    @contextmanager
    def dropping(self, protocol: str) -> Iterator[None]:
        """Within the block, what this host forwards of ``tcp`` or ``udp`` vanishes silently."""
        number = _PROTOCOLS[protocol]
        rules = [
            {
                "family": family,
                "priority": RULE_PRIORITY,
                "ip_proto": number,
                "action": _ROUTE_BLACKHOLE,
            }
            for family in (socket.AF_INET, socket.AF_INET6)
        ]
        for rule in rules:
            self.call(self._netlink.rule, "add", **rule)
        try:
            yield
        finally:
            for rule in rules:
                self.call(self._netlink.rule, "del", **rule)

    # --- Looking

    def state(self) -> HostState:
        """What is configured now: links, addresses, routes, rules, NAT tables, settings."""
        return self.call(read_host_state, self._netlink)

    def listens(self, protocol: str, port: int) -> bool:
        """Whether a socket is bound to this ``tcp`` (listening) or ``udp`` port."""
        return self.call(_is_bound, protocol, port)


def _family(address: object) -> int:
    six = isinstance(address, ipaddress.IPv6Interface | ipaddress.IPv6Network)
    return socket.AF_INET6 if six else socket.AF_INET


def _is_bound(protocol: str, port: int) -> bool:
    # Columns of /proc/net/udp: slot, local address:port in hexadecimal, remote, state. A
    # listening TCP socket is in state 0A, an unconnected UDP one in 07.
    state = {"tcp": "0A", "udp": "07"}[protocol]
    for table in (protocol, protocol + "6"):
        with suppress(FileNotFoundError):
            lines = Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]
            for _, local, _, current, *_ in map(str.split, lines):
                if current == state and int(local.rpartition(":")[2], 16) == port:
                    return True
    return False


class Lab:
    """A network of hosts; leaving its ``with`` block takes everything away again."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop all programs, at the same time, and let all namespaces go; idempotent."""
        for host in self.hosts:
            for process in host.processes:
                process.ask_to_stop()
        while self.hosts:
            self.hosts.pop().close()

    def host(self, name: str) -> Host:
        """Make a host that is connected to nothing yet. Raises HostError."""
        host = Host(name)
        self.hosts.append(host)
        return host

    def connect(
        self, one: Host, one_interface: str, other: Host, other_interface: str, mtu: int = 1500
    ) -> None:
        """Lay a cable (a pair of veth devices) between two hosts; both ends are up."""
        peer = {"ifname": other_interface, "net_ns_fd": other._net}
        one.call(one._netlink.link, "add", ifname=one_interface, kind="veth", peer=peer)
        one.set_link(one_interface, mtu=mtu, up=True)
        other.set_link(other_interface, mtu=mtu, up=True)
        # The kernel sends nothing until it has noticed, by and by, that the far end is up.
        ends = ((one, one_interface), (other, other_interface))
        wait_until(
            lambda: all(host.is_up(interface) for host, interface in ends),
            LINK_TIMEOUT,
            f"the link between {one.name} and {other.name}",
        )
