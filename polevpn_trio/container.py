"""What a container starts: a role whose configuration is a file, or stands in the environment.

::

    POLEVPN_ROLE=gateway                          or router; else told by what else is there
    POLEVPN_ROUTE_SERVER=kcp://203.0.113.5:443    a key of the configuration file, in capitals
    POLEVPN_LOCAL_NETWORKS=192.168.1.0/24,fd00::/64
    POLEVPN_KCP__LISTEN=:443                      two underscores lead into a section
    POLEVPN_KEY_FROM=/run/secrets/key             the value is what the file holds

Without any of these, ``router.json`` or ``gateway.json`` in the current directory is the
configuration. Arguments are those of the ordinary command line, and go before all of this.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from polevpn_trio.__main__ import EXIT_FAILED, EXIT_MISUSE, main
from polevpn_trio.control.run_as import RunAs
from polevpn_trio.errors import ConfigError, HostError
from polevpn_trio.privileges.account import find_account

PREFIX = "POLEVPN_"
OWN = "POLEVPN_TRIO_"
"""Begins the names of variables that mean the program itself."""

ROLE = "POLEVPN_ROLE"
ROLES = ("router", "gateway")

FROM = "_FROM"
LONGEST_SECRET = 65_536
"""Bytes of a file that a value is taken from."""

SECTION = "__"

LISTS = ("route_server", "local_networks", "route_networks", "acls")
"""Keys whose values may be lists with commas."""

_NOT_TEXT = re.compile(r'[\[{"]|(?:true|false|-?[0-9]+(?:\.[0-9]+)?)\Z')


def configuration(environment: Mapping[str, str]) -> dict[str, Any]:
    """Make a configuration of the variables. Raises ConfigError that names the bad one."""
    values: dict[str, Any] = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable.startswith(OWN) or variable == ROLE:
            continue
        name, text = variable.removeprefix(PREFIX), environment[variable]
        if name.endswith(FROM):
            name, text = name.removesuffix(FROM), _content(variable, text)
        *sections, key = name.lower().split(SECTION)
        place = values
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(variable, "", f"{section} has a value of its own already")
        if key in place:
            raise ConfigError(variable, "", f"{key} is given twice, expected it once")
        place[key] = _value(variable, key, text)
    return values


def _content(variable: str, file: str) -> str:
    try:
        with Path(file).open("rb") as stream:
            data = stream.read(LONGEST_SECRET + 1)
        if len(data) > LONGEST_SECRET:
            raise ConfigError(variable, "", f"{file} holds more than {LONGEST_SECRET} bytes")
        return data.decode().strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise ConfigError(variable, "", f"{file} cannot be read: {reason}") from None


def _value(variable: str, key: str, text: str) -> object:
    """Read a value: JSON where it looks like that, else text, or a list of texts."""
    if _NOT_TEXT.match(text):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            # Not quoted: it may be secret.
            raise ConfigError(variable, "", "looks like JSON, but is none") from None
    if key in LISTS and ("," in text or key != "route_server"):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def role(environment: Mapping[str, str], values: Mapping[str, object]) -> str:
    """Tell which role is meant. Raises ConfigError."""
    given = environment.get(ROLE)
    if given in ROLES:
        return given
    if given:
        raise ConfigError(ROLE, "", f"no role, expected one of {', '.join(ROLES)}")
    if values:
        return "gateway" if "route_server" in values else "router"
    found = [each for each in ROLES if Path(f"{each}.json").exists()]
    if len(found) == 1:
        return found[0]
    missing = "both router.json and gateway.json are" if found else "no configuration is"
    raise ConfigError(
        ROLE,
        "",
        f"not set, and {missing} in {Path.cwd()}, expected {ROLE}, or variables such as "
        f"{PREFIX}ROUTE_SERVER, or a file router.json or gateway.json there",
    )


def arguments(environment: Mapping[str, str], folder: Path) -> list[str]:
    """Turn the environment into a command line; a configuration made of it goes into ``folder``.

    It belongs to the user that the program becomes. Raises ConfigError, HostError.
    """
    values = configuration(environment)
    chosen = role(environment, values)
    if not values:
        return [chosen]
    file = folder / f"{chosen}.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(values))
    if "user" in values and os.geteuid() == 0:
        # It is read again at a reload, and removed at the end.
        account = find_account(RunAs(str(values["user"]), _text(values.get("group"))))
        for path in (folder, file):
            os.chown(path, account.uid, account.gid)
    return [chosen, "--config", str(file)]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def start(argv: Sequence[str]) -> int:
    """Do what the container was started for, and return the exit status."""
    # The kernel spares process 1 all signals that it has not asked for: until the role does so,
    # nobody could end it.
    signal.signal(signal.SIGTERM, _leave)
    if argv:
        return main(argv)
    with tempfile.TemporaryDirectory(prefix="polevpn-environment-") as folder:
        try:
            command = arguments(os.environ, Path(folder))
        except ConfigError as error:
            print(error, file=sys.stderr)
            return EXIT_MISUSE
        except HostError as error:
            print(error.with_advice(), file=sys.stderr)
            return EXIT_FAILED
        return main(command)


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))
