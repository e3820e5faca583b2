"""Kernels, containers, open files."""

from __future__ import annotations

from pathlib import Path

import pytest

from polevpn_trio.doctor.finding import Status
from polevpn_trio.doctor.surroundings import (
    ContainerFacts,
    judge_container,
    judge_kernels,
    judge_open_files,
    look_at_kernels,
    look_at_open_files,
    look_for_container,
)


def test_kernels_that_are_not_compiled_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLEVPN_TRIO_PURE", raising=False)
    assert judge_kernels({"a": True, "b": True}).status is Status.OK
    found = judge_kernels({"a": True, "b": False})
    assert found.status is Status.WARN
    assert "1 of 2" in found.text
    assert "gcc" in found.remedy
    monkeypatch.setenv("POLEVPN_TRIO_PURE", "1")
    assert judge_kernels({"a": False}).remedy == "unset POLEVPN_TRIO_PURE"


def test_the_build_in_use_is_what_is_judged(kernel_build: str) -> None:
    expected = Status.OK if kernel_build == "compiled" else Status.WARN
    assert look_at_kernels().status is expected


@pytest.mark.parametrize(
    ("file", "content", "environment", "kind"),
    [
        ("run/.containerenv", "", {}, "podman"),
        (".dockerenv", "", {}, "docker"),
        (".dockerenv", "", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ("run/systemd/container", "lxc\n", {}, "lxc"),
        ("etc/nothing", "", {"container": "systemd-nspawn"}, "systemd-nspawn"),
        ("etc/nothing", "", {}, ""),
    ],
)
def test_containers_are_known_by_their_signs(
    file: str, content: str, environment: dict[str, str], kind: str, tmp_path: Path
) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(content)
    assert look_for_container(tmp_path, environment) == ContainerFacts(kind, False)


def test_a_user_namespace_is_known_by_its_map(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    file = tmp_path / "proc/self/uid_map"
    file.write_text("         0          0 4294967295\n")
    assert not look_for_container(tmp_path, {}).user_namespace
    file.write_text("         0       1000          1\n")
    found = look_for_container(tmp_path, {})
    assert found.user_namespace
    assert "user namespace" in judge_container(found, has_site=True).text
    assert "port" in judge_container(found, has_site=False).text


def test_few_open_files_are_told() -> None:
    found = judge_open_files(1024, 1024)
    assert found.status is Status.WARN
    assert "LimitNOFILE=" in found.remedy
    assert judge_open_files(1024, 65536).status is Status.OK
    assert judge_open_files(1024, -1).status is Status.OK
    assert look_at_open_files().check == "open-files"
