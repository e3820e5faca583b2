"""The command line: flags, exit statuses, signals, and what a user gets to read."""

from __future__ import annotations

import json
import logging
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import polevpn_trio
from polevpn_trio import kernels, site
from polevpn_trio.__main__ import EXIT_FAILED, EXIT_MISUSE, main
from polevpn_trio.errors import ConfigError, HostError, LinkLost, Refused
from polevpn_trio.management.reload import Source
from polevpn_trio.privileges import rights

SECRET = "hush-hush-7c1f"
ROOT = Path(polevpn_trio.__file__).parents[1]
PATIENCE = 60
"""Seconds after which a child process counts as stuck."""

Role = Callable[[Any], Awaitable[None]]


@pytest.fixture(autouse=True)
def _restored_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(kernels, "compiled", lambda: {"polevpn_trio.frames.codec": True})
    root, own = logging.getLogger(), logging.getLogger("polevpn_trio")
    handlers, level = root.handlers[:], own.level
    yield
    root.handlers[:] = handlers
    own.setLevel(level)


@attrs.frozen
class Started:
    """The roles in place of the real ones, and what they were given."""

    configs: list[Any]
    role: list[Role]
    sources: list[Source[Any]]
    steps: list[str]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    state = Started([], [], [], [])

    @contextmanager
    def opened(config: Any) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(name="tun7", interface="tun7")

    def give_up(config: Any, interface: str, load: Any) -> None:
        assert interface == "tun7"
        state.steps.append("rights given up")

    async def run(config: Any, source: Source[Any], given: Any) -> None:
        assert given.interface == "tun7"
        state.steps.append("run")
        state.configs.append(config)
        state.sources.append(source)
        for role in state.role:
            await role(config)

    for name in ("router", "gateway"):
        module = ModuleType(f"polevpn_trio.{name}")
        module.__dict__.update(run=run, opened=opened)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(polevpn_trio, name, module, raising=False)
    monkeypatch.setattr(site, "open_device", opened)
    monkeypatch.setattr(rights, "give_up", give_up)
    return state


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificates: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    listener = {
        "listen": "127.0.0.1:443",
        "cert_file": str(certificates.rsa.cert_file),
        "key_file": str(certificates.rsa.key_file),
    }
    write(tmp_path / "hub.json", {"tls": listener, "key": SECRET})
    write(
        tmp_path / "site.json",
        {"route_server": "kcp://203.0.113.5", "key": SECRET, "gateway": "10.8.0.2"},
    )
    return tmp_path


def write(file: Path, values: object) -> None:
    file.write_text(json.dumps(values))
    file.chmod(0o600)


@pytest.mark.parametrize(
    "flags",
    [
        ["-config", "hub.json"],
        ["-config=hub.json"],
        ["--config", "hub.json"],
        ["--config=hub.json"],
        ["-configPath", "hub.json"],
        ["-configPath=./hub.json"],
        ["--configPath=hub.json"],
    ],
)
def test_the_originals_flags_are_taken(flags: list[str], folder: Path, started: Started) -> None:
    assert main(["router", *flags]) == 0
    assert [config.path.name for config in started.configs] == ["hub.json"]


@pytest.mark.parametrize("role", ["router", "gateway"])
def test_rights_are_given_up_before_the_role_runs(
    role: str, folder: Path, started: Started
) -> None:
    assert main([role, "--config", "hub.json" if role == "router" else "site.json"]) == 0
    assert started.steps == ["rights given up", "run"]


def test_the_default_file_is_that_of_the_role_then_that_of_the_originals(
    folder: Path, started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gateway"]) == EXIT_MISUSE
    assert capsys.readouterr().err.startswith(
        "gateway.json: neither this file nor config.json is in the current directory, expected"
    )
    (folder / "site.json").rename(folder / "config.json")
    assert main(["gateway"]) == 0
    (folder / "config.json").rename(folder / "gateway.json")
    assert main(["gateway"]) == 0
    assert [str(config.path) for config in started.configs] == ["config.json", "gateway.json"]


def test_the_log_level_of_the_command_line_wins(
    folder: Path, started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gateway", "-config", "site.json"]) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(
        f" INFO main: polevpn_trio {polevpn_trio.__version__} gateway, "
        "configuration site.json, kernels compiled"
    )
    assert main(["gateway", "-config", "site.json", "--log-level", "error"]) == 0
    assert capsys.readouterr().err == ""
    assert [config.log_level for config in started.configs] == ["info", "error"]


def test_the_first_lines_name_uncompiled_kernels_and_warnings(
    folder: Path,
    started: Started,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = {"polevpn_trio.frames.codec": True, "polevpn_trio.frames.ip": False}
    monkeypatch.setattr(kernels, "compiled", lambda: built)
    (folder / "site.json").chmod(0o644)
    assert main(["gateway", "-config", "site.json"]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("kernels not compiled, slower: frames.ip")
    assert " WARNING main: site.json: this file holds the key and can be" in second


def test_check_tells_what_a_file_would_do_and_starts_nothing(
    folder: Path, started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    for name, role in (("hub.json", "router"), ("site.json", "gateway")):
        assert main(["check", name]) == 0
        said = capsys.readouterr()
        assert said.out.startswith(f"{name}: a good configuration for `{role}`\n")
        assert said.err == ""
        assert SECRET not in said.out
    assert started.configs == []
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("command", [["check"], ["gateway", "-config"]])
def test_each_mistake_of_a_file_is_a_line_on_stderr(
    command: list[str],
    folder: Path,
    started: Started,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = {"route_server": "kcp://a", "key": SECRET, "gateway": "x", "mtuu": 1, "forward": 7}
    write(folder / "bad.json", values)
    assert main([*command, "bad.json"]) == EXIT_MISUSE
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(": ")[:2] for line in said.err.splitlines()] == [
        ["bad.json", "mtuu"],
        ["bad.json", "gateway"],
        ["bad.json", "forward"],
    ]
    assert started.configs == []


def test_the_other_roles_file_names_the_right_command(
    folder: Path, started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["router", "-config", "site.json"]) == EXIT_MISUSE
    assert "start it with the command `gateway`" in capsys.readouterr().err
    assert main(["gateway", "-config", "hub.json"]) == EXIT_MISUSE
    assert "start it with the command `router`" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["check"], ["check", "a", "b"], ["router", "--conf", "x"], ["router", "x"]],
)
def test_a_wrong_command_line_is_a_misuse(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == EXIT_MISUSE
    assert "usage: polevpn-trio" in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"polevpn_trio {polevpn_trio.__version__}\n"


def test_demo_gets_its_arguments_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []

    def demo_main(argv: list[str]) -> int:
        given.append(argv)
        return 7

    demo = ModuleType("polevpn_trio.lab.demo")
    demo.__dict__["main"] = demo_main
    monkeypatch.setitem(sys.modules, demo.__name__, demo)
    import polevpn_trio.lab

    monkeypatch.setattr(polevpn_trio.lab, "demo", demo, raising=False)
    assert main(["demo", "--transport", "tls", "--json", "-h"]) == 7
    assert given == [["--transport", "tls", "--json", "-h"]]


# --- Errors while running -------------------------------------------------------------------


def fail_with(*errors: Exception) -> Role:
    """A role with one task for each error."""

    async def role(_: object) -> None:
        if len(errors) == 1:
            raise errors[0]
        # Nested, as nurseries do it.
        raise ExceptionGroup("tasks", [errors[0], ExceptionGroup("inner", list(errors[1:]))])

    return role


@pytest.mark.parametrize(
    ("errors", "status", "lines"),
    [
        ([HostError("no /dev/net/tun")], EXIT_FAILED, ["no /dev/net/tun"]),
        ([Refused("invalid key"), LinkLost("gone")], EXIT_FAILED, ["invalid key", "gone"]),
        ([LinkLost("gone"), LinkLost("gone"), LinkLost("gone")], EXIT_FAILED, ["gone"]),
        ([LinkLost("two\nlines")], EXIT_FAILED, ["two\\nlines"]),
        ([ConfigError("a.json", "mtu", "wrong")], EXIT_MISUSE, ["a.json: mtu: wrong"]),
    ],
)
def test_expected_errors_are_one_line_each(
    errors: list[Exception],
    status: int,
    lines: list[str],
    folder: Path,
    started: Started,
    capsys: pytest.CaptureFixture[str],
) -> None:
    started.role.append(fail_with(*errors))
    assert main(["gateway", "-config", "site.json"]) == status
    _, *said = capsys.readouterr().err.splitlines()
    assert [line.partition(" ERROR main: ")[2] for line in said] == lines


@pytest.mark.parametrize("errors", [[KeyError("bug")], [KeyError("bug"), LinkLost("gone")]])
def test_faults_of_ours_keep_their_traceback(
    errors: list[Exception], folder: Path, started: Started
) -> None:
    started.role.append(fail_with(*errors))
    with pytest.raises(ExceptionGroup) as caught:
        main(["gateway", "-config", "site.json"])
    assert caught.group_contains(KeyError)


# --- Signals --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_role_cleanly(
    number: signal.Signals,
    folder: Path,
    started: Started,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cleaned_up: list[str] = []

    async def role(_: object) -> None:
        try:
            signal.raise_signal(number)
            # The same signal twice at once, as from a terminal and a supervisor, is one.
            signal.raise_signal(number)
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
            cleaned_up.append("yes")

    started.role.append(role)
    assert main(["gateway", "-config", "site.json"]) == 0
    assert cleaned_up == ["yes"]
    assert f" INFO main: {number.name}: ending" in capsys.readouterr().err


def test_a_hangup_has_the_file_read_anew_by_the_command_lines_rules(
    folder: Path, started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    async def role(_: object) -> None:
        [source] = started.sources
        signal.raise_signal(signal.SIGHUP)
        await source.wait_asked()
        values = {"route_server": "kcp://203.0.113.6", "key": SECRET, "gateway": "10.8.0.2"}
        write(folder / "site.json", {**values, "log_level": "error"})
        asked.append(source.load())

    started.role.append(role)
    assert main(["gateway", "-config", "site.json", "--log-level", "info"]) == 0
    assert [(config.servers[0].host, config.log_level) for config in asked] == [
        ("203.0.113.6", "info")
    ]
    assert " INFO main: SIGHUP: reading the configuration anew" in capsys.readouterr().err


CHILD = """
import signal, sys
ARGUMENTS = sys.argv[1:]
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
import trio
import polevpn_trio
from polevpn_trio import kernels, site
from polevpn_trio.__main__ import process

@contextmanager
def open_device(config):
    yield SimpleNamespace(name="tun7")

async def run(config, source, given):
    print("running", flush=True)
    try:
        await trio.sleep_forever()
    finally:
        if ARGUMENTS[0] == "stuck":
            print("stuck", flush=True)
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
        print("clean", flush=True)

kernels.compiled = lambda: {}
site.open_device = open_device
module = ModuleType("polevpn_trio.gateway")
module.run = run
polevpn_trio.gateway = sys.modules["polevpn_trio.gateway"] = module
if ARGUMENTS[1] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.argv[1:] = ["gateway", "-config", "site.json"]
process()
"""


TAKE_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(int(sys.argv[3]), termios.TIOCSCTTY, 0)
"""


def start_child(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def run_command(buffered: bool, output: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "polevpn_trio", *arguments],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "" if buffered else "1",
        },
    )


@pytest.mark.parametrize("buffered", [False, True])
def test_a_process_may_lose_its_reader(buffered: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run_command(buffered, writer, "completion", "bash")
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("buffered", [False, True])
def test_a_process_tells_that_its_output_is_lost(buffered: bool) -> None:
    with open("/dev/full", "wb") as full:
        done = run_command(buffered, full.fileno(), "completion", "bash")
    told = "polevpn-trio: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (EXIT_FAILED, told)


def test_a_process_may_be_started_without_stdin_and_stdout() -> None:
    given = 'exec "$0" -m polevpn_trio completion bash <&- >&-'
    done = subprocess.run(
        ["sh", "-c", given, sys.executable],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_ends_with_status_0_on_sigterm(folder: Path) -> None:
    with start_child("clean", "") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=PATIENCE)
    assert (child.returncode, out) == (0, "clean\n")
    assert "Traceback" not in err


def test_a_process_under_nohup_outlives_its_terminal(folder: Path) -> None:
    with start_child("clean", "nohup") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        child.send_signal(signal.SIGHUP)
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=PATIENCE)
    assert (child.returncode, out) == (0, "clean\n")
    assert "SIGTERM: ending" in err
    assert "SIGHUP" not in err


def test_a_process_ends_when_its_terminal_is_closed(folder: Path) -> None:
    terminal, side = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", f"{TAKE_TERMINAL}{CHILD}", "clean", "", str(side)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        pass_fds=[side],
        start_new_session=True,
    )
    with child:
        os.close(side)
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        os.close(terminal)
        out, err = child.communicate(timeout=PATIENCE)
    assert (child.returncode, out) == (0, "clean\n")
    assert "SIGHUP: ending" in err


def test_a_stuck_clean_up_is_left_at_a_later_signal(folder: Path) -> None:
    with start_child("stuck", "") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "stuck\n"
        # Signals right after the first count as the same one: repeat until it has had enough.
        while child.poll() is None:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == EXIT_FAILED
    assert "SIGINT again: leaving at once; what to do: start it again" in err


def test_the_module_runs_as_a_program(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "polevpn_trio", "check", "site.json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("site.json: a good configuration for `gateway`\n")


def test_check_does_not_wait_for_the_network_code(folder: Path) -> None:
    script = (
        "import sys; from polevpn_trio.__main__ import main; main(['check', 'site.json']); "
        "print(sorted({'trio', 'OpenSSL', 'pyroute2', 'pytun'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
