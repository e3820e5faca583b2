"""The image that the Containerfile makes, as process 1 of namespaces of its own.

A container runtime proper would do the same and more; not every machine lets one run.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.image.conftest import Image
from tests.image.machine import Machine, machine

pytestmark = pytest.mark.image

_IN_FOLDER = 'cd "$1"; shift; exec "$@"'


def start_words(image: Image, *arguments: str) -> list[str]:
    """What a runtime would start."""
    entry = image.config["Entrypoint"]
    return ["sh", "-c", _IN_FOLDER, "sh", image.config["WorkingDir"], *entry, *arguments]


def environment(image: Image, **more: str) -> dict[str, str]:
    return dict(each.split("=", 1) for each in image.config["Env"]) | more


def healthy(image: Image, running: Machine) -> bool:
    kind, *words = image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    return running.run(*words)[0] == 0


def test_a_router_from_the_environment_is_healthy_reloads_and_ends(
    image: Image, tmp_path: Path
) -> None:
    folder = image.files / "etc/polevpn"
    with machine(
        image.files, tmp_path / "keys", start_words(image, "keys", "router"), environment(image)
    ) as made:
        assert made.process.wait(60) == 0, made.log.read_text()
    assert (folder / "server.key").stat().st_mode & 0o777 == 0o600
    told = environment(
        image,
        POLEVPN_ROLE="router",
        POLEVPN_KEY="a long secret of your own",
        POLEVPN_KCP__LISTEN=":443",
        POLEVPN_KCP__CERT_FILE="server.crt",
        POLEVPN_KCP__KEY_FILE="server.key",
    )
    with machine(image.files, tmp_path / "log", start_words(image), told) as router:
        router.wait("ready", lambda: " ready" in router.log.read_text())
        assert "kernels are plain Python" not in router.log.read_text()
        router.wait("healthy", lambda: healthy(image, router))
        os.kill(router.first, signal.SIGHUP)
        router.wait("reloaded", lambda: "reading the configuration anew" in router.log.read_text())
        assert healthy(image, router)
        os.kill(router.first, signal.SIGTERM)
        assert router.process.wait(60) == 0


def test_without_a_configuration_it_says_what_it_wants(image: Image, tmp_path: Path) -> None:
    with machine(image.files, tmp_path / "log", start_words(image), environment(image)) as nothing:
        assert nothing.process.wait(60) == 2
        assert "expected POLEVPN_ROLE" in nothing.log.read_text()
