"""The gate on every supported Python: plain ``nox`` runs all of it.

The commands themselves live in ``./run``, which does the same on one Python for people and for
continuous integration; each session here hands it an environment of its own.
"""

from __future__ import annotations

import nox

nox.needs_version = ">=2024.4"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests_pure", "tests_compiled", "build"]

PYTHONS = ["3.11", "3.12", "3.13"]

LOCK = "conf/requirements.txt"
"""What a release installs: every package by version and hash."""

WITHOUT_PROGRAMS = (
    "--ignore=tests/e2e",
    "-m",
    "not needs_root_lab and not packaging and not image",
)
"""The tests that start no programs: what others time may not run with checks in its kernels."""


def run(session: nox.Session, *arguments: str, **env: str) -> None:
    """Call ``./run`` with the session's environment in place of ``.venv``."""
    venv = str(session.virtualenv.location)
    session.run("./run", *arguments, env={"POLEVPN_TRIO_VENV": venv, **env}, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    run(session, "lint")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    run(session, "types")


@nox.session(python=PYTHONS)
def tests_pure(session: nox.Session) -> None:
    """Tests of the sans-I/O parts with the kernels as plain Python."""
    run(session, "test-pure", *session.posargs)


@nox.session(python=PYTHONS)
def tests_compiled(session: nox.Session) -> None:
    """All tests with the kernels compiled."""
    run(session, "test-compiled", *session.posargs)


@nox.session
def tests_boundschecked(session: nox.Session) -> None:
    """Tests of the sans-I/O parts with compiled kernels that check every index."""
    checks = {"POLEVPN_TRIO_CYTHON_BOUNDSCHECK": "1"}
    run(session, "test-compiled", *(session.posargs or WITHOUT_PROGRAMS), **checks)


@nox.session
def tests_sanitized(session: nox.Session) -> None:
    """Tests of the sans-I/O parts with kernels under GCC's address and undefined sanitizers.

    Python's own allocator would hand out memory that they do not watch, hence malloc.
    """
    libraries = " ".join(
        str(session.run("gcc", f"-print-file-name={name}", external=True, silent=True)).strip()
        for name in ("libasan.so", "libubsan.so")
    )
    sanitizers = {
        # Cython makes shifts into the sign bit of a byte << 24; GCC defines what they do.
        "CFLAGS": "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined"
        " -fno-sanitize=shift-base",
        "POLEVPN_TRIO_PRELOAD": libraries,
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
    }
    # The report of a sanitizer is written to a descriptor that pytest would keep to itself.
    tests = [
        f"tests/{part}" for part in ("frames", "kcp", "forwarding", "transport", "tun", "fuzz")
    ]
    arguments = session.posargs or ["-s", *WITHOUT_PROGRAMS, *tests]
    run(session, "test-compiled", *arguments, **sanitizers)


@nox.session(python=PYTHONS)
def build(session: nox.Session) -> None:
    """Build sdist and wheel, with and without a compiler, and install them."""
    run(session, "test-packaging", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Pin what a release installs to the newest versions that are allowed, with hashes."""
    session.install("uv")
    session.run(
        *("uv", "pip", "compile", "pyproject.toml", "--extra", "dashboard"),
        *("--universal", "--upgrade"),
        *("--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"),
        *("--no-header", "--quiet", "--output-file", LOCK),
    )


@nox.session
def audit(session: nox.Session) -> None:
    """Ask the advisory databases about what a release installs."""
    session.install("pip-audit")
    session.run("pip-audit", "--requirement", LOCK, "--require-hashes", "--disable-pip", "--strict")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz every parser of untrusted bytes for half a minute: ``nox -s fuzz -- --seconds 600``."""
    run(session, "fuzz", *(session.posargs or ["--seconds", "30"]))


@nox.session
def mutation(session: nox.Session) -> None:
    """Change the modules that decide, a bit at a time, and see whether a test notices.

    ``mutmut results`` and ``mutmut show NAME`` in the session's environment tell what survived.
    """
    session.install("mutmut", "--editable", ".[dev]", env={"POLEVPN_TRIO_PURE": "1"})
    session.run("mutmut", "run", *session.posargs, env={"POLEVPN_TRIO_PURE": "1"})


@nox.session
def bench(session: nox.Session) -> None:
    """Run one benchmark: ``nox -s bench -- NAME``."""
    run(session, "bench", *session.posargs)
