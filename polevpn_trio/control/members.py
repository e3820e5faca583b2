"""One JSON object of a configuration file, its members checked as they are taken out of it."""

from __future__ import annotations

import difflib
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from polevpn_trio.control.commented_json import kind
from polevpn_trio.control.log import printable
from polevpn_trio.errors import ConfigError

_RENAMED = MappingProxyType(
    {"shared_key": "key", "gateway_ip": "gateway", "wss": "tls", "ws": "tls"}
)
"""Keys of older releases of the originals, and what stands for them now."""

READABLE_BY_ALL = "can be read by every user of this machine"
"""Of a file with a secret in it."""


class Report:
    """Mistakes, warnings and secrets of one file, in the order in which they were found."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.mistakes: list[ConfigError] = []
        self.warnings: list[str] = []
        self.secrets: list[Path] = []
        """Files with a secret in them: this one, or files that it names."""

    def locate(self, text: str) -> Path:
        """Find a file named in this one: beside it, else (as the originals) where we run."""
        beside = self.file.parent / text
        try:
            return Path(text) if not beside.exists() and Path(text).exists() else beside
        except (OSError, ValueError):
            return beside

    def finish(self) -> None:
        """Raise the first mistake, if any, with the others as notes."""
        if self.mistakes:
            first, *others = self.mistakes
            for other in others:
                first.add_note(str(other))
            raise first

    def note_secret(self, file: Path, what: str) -> None:
        """Note that there is a secret in a file, and warn if everybody can read it."""
        if file not in self.secrets:
            self.secrets.append(file)
        try:
            mode = file.stat().st_mode
        except (OSError, ValueError):
            return
        warning = f"{what} {READABLE_BY_ALL} (chmod o-r)"
        if stat.S_ISREG(mode) and mode & stat.S_IROTH and warning not in self.warnings:
            self.warnings.append(warning)


class Members:
    """The members of one JSON object, handed out by type.

    A member of the wrong type is reported and reads as its default, so that the rest of the file
    is checked too. Values are quoted in messages only where they cannot be secret.
    """

    def __init__(
        self, report: Report, prefix: str, values: Mapping[str, object], known: Sequence[str]
    ) -> None:
        self.report = report
        self._prefix = prefix
        self._values = values
        self._mistyped: set[str] = set()
        for name in values:
            if name not in known:
                self._refuse(name, known)

    def path(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def has(self, name: str) -> bool:
        return name in self._values

    def value(self, name: str) -> object:
        return self._values.get(name)

    def problem(self, name: str, problem: str) -> None:
        self.report.mistakes.append(ConfigError(self.report.file, self.path(name), problem))

    def warn(self, name: str, warning: str) -> None:
        self.report.warnings.append(f"{self.path(name)}: {warning}")

    def required(self, name: str, expected: str) -> bool:
        """Whether the member is there; if not, that is reported."""
        # A misspelt key has been reported already, with the right name.
        if name not in self._values and name not in self._mistyped:
            self.problem(name, f"missing, expected {expected}")
        return name in self._values

    def section(self, name: str, known: Sequence[str]) -> Members | None:
        value = self._values[name]
        if isinstance(value, dict):
            return Members(self.report, f"{self.path(name)}.", value, known)
        keys = ", ".join(known)
        self.problem(name, f"{kind(value)}, expected an object with the keys {keys}")
        return None

    def text(self, name: str, expected: str) -> str | None:
        value = self._values[name]
        if isinstance(value, str):
            return value
        self.problem(name, f"{kind(value)}, expected {expected}")
        return None

    def texts(
        self, name: str, expected: str, *, one_or_more: bool = False
    ) -> list[tuple[str, str]]:
        """The strings of a list (or, with ``one_or_more``, a single one) with their key paths."""
        value = self._values[name]
        if one_or_more and isinstance(value, str):
            return [(name, value)]
        if not isinstance(value, list) or (one_or_more and not value):
            found = "an empty list" if value == [] else kind(value)
            self.problem(name, f"{found}, expected {expected}")
            return []
        texts: list[tuple[str, str]] = []
        for index, entry in enumerate(value):
            if isinstance(entry, str):
                texts.append((f"{name}[{index}]", entry))
            else:
                self.problem(f"{name}[{index}]", f"{kind(entry)}, expected a string")
        return texts

    def flag(self, name: str, default: bool) -> bool:
        value = self._values.get(name, default)
        if isinstance(value, bool):
            return value
        self.problem(name, f"{kind(value)}, expected true or false")
        return default

    def whole(self, name: str, default: int, low: int, high: int, unit: str) -> int:
        value = self._values.get(name, default)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        found = f"{value:g}" if type(value) in (int, float) else kind(value)
        self.problem(name, f"{found}, expected a whole number from {low} to {high} ({unit})")
        return default

    def seconds(self, name: str, default: float, low: float, high: float) -> float:
        value = self._values.get(name, default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(value, int | float) and number and low <= value <= high:
            return float(value)
        found = f"{value:g}" if number else kind(value)
        self.problem(name, f"{found}, expected a number from {low} to {high} (seconds)")
        return default

    def _refuse(self, name: str, known: Sequence[str]) -> None:
        renamed = [new for old, new in _RENAMED.items() if old == name and new in known]
        near = (renamed or difflib.get_close_matches(name.lower(), known, n=1) or [""])[0]
        if not near:
            expected = f"expected one of {', '.join(known)}"
        else:
            self._mistyped.add(near)
            expected = f'did you mean "{near}"?'
        self.problem(shown(name), f"unknown key, {expected}")


def shown(text: str) -> str:
    """A piece of the file as a message may quote it."""
    text = printable(text)
    return text if len(text) <= 60 else f"{text[:57]}..."
