"""The command line: ``router``, ``gateway``, and what prepares, asks, and examines them.

Exit status: 0 after a clean end (SIGINT and SIGTERM lead to one), 1 if something failed while
running, 2 if the command line or the configuration is wrong. Those that ask a running program
have their own (`polevpn_trio.commands.inspect`).
"""

from __future__ import annotations

import argparse
import errno
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import attrs

from polevpn_trio import __version__, manual
from polevpn_trio.commands import arguments as asking
from polevpn_trio.commands import keys_arguments
from polevpn_trio.commands.plain_marks import use_plain_marks
from polevpn_trio.completion import PROGRAM, SHELLS
from polevpn_trio.control import advice
from polevpn_trio.control.log import FORMATS, LEVELS, ContextLogger, configure, printable
from polevpn_trio.errors import ConfigError, PoleVpnError

if TYPE_CHECKING:
    import trio

    from polevpn_trio.control.config import GatewayConfig, RouterConfig
    from polevpn_trio.management.reload import Source
    from polevpn_trio.tun.device import TunDevice

# Everything heavier is imported by the command that needs it: `check` should answer at once.

EXIT_FAILED = 1
EXIT_MISUSE = 2

ONE_SIGNAL = 0.3
"""Seconds within which signals count as one: a terminal's Ctrl-C and a supervisor's forwarding
of it reach us twice, but mean it once."""

_log = ContextLogger(logging.getLogger("polevpn_trio.main"))

_Config = TypeVar("_Config", bound="RouterConfig | GatewayConfig")
_Opened = TypeVar("_Opened")


STARTING_OBJECTS = 100_000
"""New objects that call for a look for garbage while a program starts: what it imports stays, and
to look at that again and again takes a fifth of the start. Once a role runs all is as usual, but
for what is there by then: that is not looked at any more."""

_USUAL_THRESHOLDS = gc.get_threshold()


def process() -> NoReturn:
    """Be the process that runs one command, and end with its exit status.

    Nothing is left to clean up by then but memory, which the kernel takes back at once; Python
    would need as long as for a fifth of the start to take its modules apart.
    """
    gc.set_threshold(STARTING_OBJECTS, *gc.get_threshold()[1:])
    _open_missing_streams()
    use_plain_marks()
    status = 0
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us (head, less) has seen enough.
        pass
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _complain("polevpn-trio: ", f"the output cannot be written: {error.strerror}")
        status = EXIT_FAILED
    os._exit(status)


def _open_missing_streams() -> None:
    """Have /dev/null where nothing is (``>&-``): else a socket would get that number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (default: that of the process) and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["demo"]:
            from polevpn_trio.lab import demo

            return demo.main(arguments[1:])
        options = _parser().parse_args(arguments)
        command: Callable[[argparse.Namespace], int] = options.run
        return command(options)
    except ConfigError as error:
        _complain("", str(error), *getattr(error, "__notes__", ()))
        return EXIT_MISUSE
    except PoleVpnError as error:
        _complain("polevpn-trio: ", error.with_advice())
        return EXIT_FAILED
    except KeyboardInterrupt:
        # Ctrl-C before there was anything to end.
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="PoleVPN router and gateway: joins sites into one IP network.",
        epilog=manual.OVERVIEW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"polevpn_trio {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, text: str, details: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=details,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def add_role(
        name: str, run: Callable[[argparse.Namespace], int], text: str, details: str
    ) -> None:
        role = add(name, text, details)
        role.add_argument(
            "--config",
            metavar="FILE",
            help=f"configuration (default: ./{name}.json, else ./config.json)",
        )
        role.add_argument(
            # The originals' flags, in both of their spellings.
            *("-config", "--configPath", "-configPath"),
            dest="config",
            metavar="FILE",
            help=argparse.SUPPRESS,
        )
        role.add_argument(
            "--log-level",
            choices=tuple(LEVELS),
            help='lines from this level on (default: "log_level" of the file, else info)',
        )
        role.add_argument(
            "--log-format",
            choices=FORMATS,
            default=FORMATS[0],
            help="of the lines on stderr: for people (default), or a JSON object each",
        )
        role.set_defaults(run=run)

    add_role("router", _router, "run the router that joins the gateways", manual.ROUTER)
    add_role("gateway", _gateway, "run the gateway of one site", manual.GATEWAY)
    check = add(
        "check",
        "say what is wrong with a configuration, or what it would do; starts nothing",
        manual.CHECK,
    )
    check.add_argument("file", metavar="FILE", help="configuration of a router or a gateway")
    check.set_defaults(run=_check)
    keys_arguments.add_parsers(add)
    asking.add_parsers(add)
    # Only for the list of commands; its arguments are its own business.
    commands.add_parser("demo", help="build a small network on this machine and try it out")
    completion = add(
        "completion", "print a script that completes this command line", manual.COMPLETION
    )
    completion.add_argument("shell", choices=SHELLS, help="the shell to read it")
    completion.set_defaults(run=_completion)
    return parser


def _completion(options: argparse.Namespace) -> int:
    from polevpn_trio import completion
    from polevpn_trio.lab import demo

    parser = _parser()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            demo.add_arguments(action.choices["demo"])
    print(completion.script(parser, options.shell))
    return 0


def _check(options: argparse.Namespace) -> int:
    from polevpn_trio.control.config import load_any
    from polevpn_trio.control.summary import summary

    print(summary(load_any(options.file)))
    return 0


def _router(options: argparse.Namespace) -> int:
    from polevpn_trio.control.config import load_router

    load = _loader(load_router, "router", options)
    config = _start_log("router", load(), options)
    from polevpn_trio import router

    return _run(router.run, config, load, router.opened, lambda opened: opened.interface)


def _gateway(options: argparse.Namespace) -> int:
    from polevpn_trio.control.config import load_gateway

    load = _loader(load_gateway, "gateway", options)
    config = _start_log("gateway", load(), options)
    from polevpn_trio import gateway
    from polevpn_trio.site import open_device

    def opened(config: GatewayConfig) -> TunDevice:
        return open_device(config.site)

    return _run(gateway.run, config, load, opened, lambda device: device.name)


def _loader(
    read: Callable[[Path], _Config], role: str, options: argparse.Namespace
) -> Callable[[], _Config]:
    """Make what reads a role's file, now and later; the command line wins over the file."""
    file = _config_file(options, role)

    def load() -> _Config:
        config = read(file)
        if options.log_level is not None:
            config = attrs.evolve(config, log_level=options.log_level)
        return config

    return load


def _config_file(options: argparse.Namespace, role: str) -> Path:
    if options.config is not None:
        return Path(options.config)
    for name in (f"{role}.json", "config.json"):
        if Path(name).exists():
            return Path(name)
    raise ConfigError(
        f"{role}.json",
        "",
        "neither this file nor config.json is in the current directory, "
        "expected one of them or --config FILE",
    )


def _start_log(role: str, config: _Config, options: argparse.Namespace) -> _Config:
    from polevpn_trio import kernels

    configure(config.log_level, options.log_format)
    plain = [name.removeprefix("polevpn_trio.") for name, c in kernels.compiled().items() if not c]
    _log.info(
        "polevpn_trio %s %s, configuration %s, kernels %s",
        __version__,
        role,
        config.path,
        f"not compiled, slower: {', '.join(plain)}" if plain else "compiled",
    )
    for warning in config.warnings:
        _log.warning("%s: %s", config.path, warning, advice=advice.CHECK)
    return config


def _run(
    role: Callable[[_Config, Source[_Config], _Opened], Coroutine[Any, Any, None]],
    config: _Config,
    load: Callable[[], _Config],
    opened: Callable[[_Config], AbstractContextManager[_Opened]],
    interface: Callable[[_Opened], str | None],
) -> int:
    """Run a role to its end; its expected errors become one line each.

    It is given what was ``opened`` before it gives up the rights that this takes; ``interface``
    names the TUN device among that.
    """
    import trio

    from polevpn_trio.management.reload import Source
    from polevpn_trio.privileges import rights

    gc.freeze()
    gc.set_threshold(*_USUAL_THRESHOLDS)
    try:
        with opened(config) as given:
            rights.give_up(config, interface(given), load)
            trio.run(_until_signalled, role, config, Source(load), given)
    except BaseException as error:
        leaves = list(_leaves(error))
        expected = [leaf for leaf in leaves if isinstance(leaf, PoleVpnError)]
        if all(isinstance(leaf, PoleVpnError | KeyboardInterrupt) for leaf in leaves):
            for line, remedy in dict.fromkeys((str(leaf), leaf.advice) for leaf in expected):
                _log.error("%s", line, advice=remedy)
            if any(isinstance(leaf, ConfigError) for leaf in expected):
                return EXIT_MISUSE
            return EXIT_FAILED if expected else 0
        # A fault of ours: the traceback is what helps.
        raise
    return 0


async def _until_signalled(
    role: Callable[[_Config, Source[_Config], _Opened], Coroutine[Any, Any, None]],
    config: _Config,
    source: Source[_Config],
    given: _Opened,
) -> None:
    import trio

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            await nursery.start(_watch_signals, scope, source)
            await role(config, source, given)
        nursery.cancel_scope.cancel()


async def _watch_signals(
    scope: trio.CancelScope, source: Source[Any], *, task_status: trio.TaskStatus[None]
) -> None:
    """Cancel the scope at the first signal, and give up cleaning up at the second.

    SIGHUP has the configuration read anew instead, unless it means that our terminal is gone.
    """
    import trio

    ended_at: float | None = None
    watched = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # Whoever started us through nohup wants us not to mind.
        watched.append(signal.SIGHUP)
    on_terminal = _has_terminal()
    with trio.open_signal_receiver(*watched) as signals:
        task_status.started()
        async for number in signals:
            name = signal.Signals(number).name
            if number == signal.SIGHUP and not (on_terminal and not _has_terminal()):
                _log.info("%s: reading the configuration anew", name)
                source.ask()
            elif ended_at is None:
                _log.info("%s: ending", name)
                ended_at = trio.current_time()
                scope.cancel()
            elif trio.current_time() - ended_at > ONE_SIGNAL:
                _log.warning(
                    "%s again: leaving at once",
                    name,
                    advice="start it again: that undoes what it had changed on this machine",
                )
                os._exit(EXIT_FAILED)


def _has_terminal() -> bool:
    """Whether a terminal controls this process, and has not been closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _complain(prefix: str, *lines: str) -> None:
    for line in lines:
        print(f"{prefix}{printable(line)}", file=sys.stderr)


if __name__ == "__main__":
    process()
