"""The environment of a container as configuration, and the program as its process 1."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

import polevpn_trio
from polevpn_trio.container import arguments, configuration
from polevpn_trio.control.config import load_gateway, load_router
from polevpn_trio.errors import ConfigError, HostError
from polevpn_trio.lab.namespaces import wait_until
from polevpn_trio.lab.overlay import python_path
from tests.conftest import Certificates

CONF = Path(polevpn_trio.__file__).parents[1] / "conf"

TO_BECOME_A_USER = ("SETUID", "SETGID", "SETPCAP", "CHOWN")

GATEWAY = {
    "POLEVPN_ROUTE_SERVER": "kcp://203.0.113.5:443, tls://203.0.113.5:443",
    "POLEVPN_KEY": "a long secret",
    "POLEVPN_GATEWAY": "10.8.0.2",
    "POLEVPN_LOCAL_NETWORKS": "192.168.1.0/24",
    "POLEVPN_FORWARD": "true",
    "POLEVPN_MTU": "1400",
    "POLEVPN_NATIVE": '{"gso": false}',
    "POLEVPN_KCP_OPTIONS__MTU": "1300",
    "POLEVPN_TRIO_PURE": "1",
    "HOME": "/root",
}


def router(certificates: Certificates) -> dict[str, str]:
    pair = certificates.ecdsa
    return {
        "POLEVPN_KCP__LISTEN": ":443",
        "POLEVPN_KCP__CERT_FILE": str(pair.cert_file),
        "POLEVPN_KCP__KEY_FILE": str(pair.key_file),
        "POLEVPN_KEY": "a long secret",
    }


def test_a_gateway_stands_in_the_environment(tmp_path: Path) -> None:
    command = arguments(GATEWAY, tmp_path)
    assert command == ["gateway", "--config", str(tmp_path / "gateway.json")]
    file = tmp_path / "gateway.json"
    assert file.stat().st_mode & 0o777 == 0o600
    config = load_gateway(file)
    assert [server.scheme for server in config.servers] == ["kcp", "tls"]
    assert (config.key, config.site.forward, config.site.mtu) == ("a long secret", True, 1400)
    assert "gso" not in config.features
    assert config.kcp_options.mtu == 1300


def test_a_router_stands_in_the_environment(tmp_path: Path, certificates: Certificates) -> None:
    command = arguments(router(certificates), tmp_path)
    assert command[0] == "router"
    assert load_router(command[2]).kcp is not None


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("of the file\n")
    given = {name: value for name, value in GATEWAY.items() if name != "POLEVPN_KEY"}
    arguments({**given, "POLEVPN_KEY_FROM": str(secret)}, tmp_path)
    assert load_gateway(tmp_path / "gateway.json").key == "of the file"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_the_program_becomes_can_read_and_remove_its_configuration(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    arguments({**GATEWAY, "POLEVPN_USER": "nobody"}, tmp_path)
    for path in (tmp_path, tmp_path / "gateway.json"):
        assert (path.stat().st_uid, path.stat().st_gid) == (nobody.pw_uid, nobody.pw_gid)
    with pytest.raises(HostError, match="no user no-such"):
        arguments({**GATEWAY, "POLEVPN_USER": "no-such"}, tmp_path)


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({"POLEVPN_KEY": "x", "POLEVPN_KEY_FROM": "/dev/null"}, "POLEVPN_KEY_FROM"),
        ({"POLEVPN_KEY_FROM": "/none"}, "POLEVPN_KEY_FROM"),
        ({"POLEVPN_KEY_FROM": "/dev/zero"}, "POLEVPN_KEY_FROM"),
        ({"POLEVPN_NATIVE": "{"}, "POLEVPN_NATIVE"),
        ({"POLEVPN_KCP": "x", "POLEVPN_KCP__LISTEN": ":1"}, "POLEVPN_KCP__LISTEN"),
    ],
)
def test_a_mistake_names_the_variable(environment: dict[str, str], variable: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configuration(environment)
    assert str(caught.value).startswith(f"{variable}: ")


def test_files_tell_the_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no configuration is in"):
        arguments({}, tmp_path)
    (tmp_path / "router.json").touch()
    assert arguments({}, tmp_path) == ["router"]
    (tmp_path / "gateway.json").touch()
    with pytest.raises(ConfigError, match=r"both router\.json and gateway\.json are in"):
        arguments({}, tmp_path)
    assert arguments({"POLEVPN_ROLE": "gateway"}, tmp_path) == ["gateway"]
    with pytest.raises(ConfigError, match="expected one of router, gateway"):
        arguments({"POLEVPN_ROLE": "hub"}, tmp_path)


# --- As process 1


@contextmanager
def as_process_1(
    environment: dict[str, str], folder: Path, *words: str
) -> Iterator[subprocess.Popen[str]]:
    """Run the entrypoint as process 1, with a network of its own."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is missing")
    command = [unshare, "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"]
    entrypoint = [sys.executable, "-m", "polevpn_trio.container", *words]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, *entrypoint],
            stderr=log,
            stdout=log,
            text=True,
            env={"PATH": os.environ["PATH"], **python_path(), **environment},
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def child_of(process: subprocess.Popen[str]) -> int:
    """The entrypoint, by its number here."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: children.read_text().strip() != "", 10, "the entrypoint to start")
    return int(children.read_text())


def started(folder: Path, process: subprocess.Popen[str], text: str) -> None:
    log = folder / "log"
    wait_until(
        lambda: text in log.read_text() or process.poll() is not None, 20, f"{text} in the log"
    )
    assert text in log.read_text(), log.read_text()


def run_beside(folder: Path, *words: str) -> int:
    """Run the ordinary command line on the same sockets."""
    return subprocess.run(
        [sys.executable, "-m", "polevpn_trio", *words],
        env={"PATH": os.environ["PATH"], **python_path(), "RUNTIME_DIRECTORY": str(folder)},
        capture_output=True,
        timeout=30,
        check=False,
    ).returncode


def test_a_role_as_process_1_is_healthy_reloads_and_ends_when_told(
    tmp_path: Path, certificates: Certificates
) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    assert run_beside(runtime, "status") == 2
    environment = {
        **router(certificates),
        "RUNTIME_DIRECTORY": str(runtime),
        "TMPDIR": str(tmp_path),
    }
    with as_process_1(environment, tmp_path) as process:
        started(tmp_path, process, "ready")
        assert run_beside(runtime, "status") == 0
        child = child_of(process)
        assert Path(f"/proc/{child}/status").read_text().partition("NSpid:")[2].split()[1] == "1"
        os.kill(child, signal.SIGHUP)
        started(tmp_path, process, "reading the configuration anew")
        os.kill(child, signal.SIGTERM)
        assert process.wait(20) == 0
    # Nor does the configuration, which holds the key, stay anywhere.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "run"]


def test_a_mistake_ends_process_1_with_status_2(tmp_path: Path) -> None:
    environment = {**GATEWAY, "POLEVPN_GATWAY": "10.8.0.2", "TMPDIR": str(tmp_path)}
    with as_process_1(environment, tmp_path) as process:
        assert process.wait(30) == 2
    assert "gatway" in (tmp_path / "log").read_text()


def test_arguments_are_those_of_the_command_line(tmp_path: Path) -> None:
    with as_process_1({}, tmp_path, "--version") as process:
        assert process.wait(30) == 0
    assert polevpn_trio.__version__ in (tmp_path / "log").read_text()


# --- What composes containers


def test_compose_starts_both_roles_with_what_each_needs(tmp_path: Path) -> None:
    services = yaml.safe_load((CONF / "compose.yaml").read_text())["services"]
    assert set(services) == {"router", "gateway"}
    for name, service in services.items():
        check = [word.replace("$$", "$") for word in service["healthcheck"]["test"]]
        assert check == health_check()
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert name == service["environment"]["POLEVPN_ROLE"]
    assert services["gateway"]["devices"] == ["/dev/net/tun"]
    assert services["gateway"]["cap_add"] == ["NET_ADMIN", *TO_BECOME_A_USER]
    assert services["router"]["cap_add"] == ["NET_BIND_SERVICE", *TO_BECOME_A_USER]
    environment = {
        name: value.replace("${POLEVPN_KEY:?}", "a long secret")
        for name, value in services["gateway"]["environment"].items()
    }
    assert environment["POLEVPN_USER"] == "polevpn"
    environment["POLEVPN_USER"] = "nobody"
    load_gateway(arguments(environment, tmp_path)[2])


def test_kubernetes_gets_both_roles(tmp_path: Path) -> None:
    documents = list(yaml.safe_load_all((CONF / "kubernetes.yaml").read_text()))
    kinds = [(each["kind"], each["metadata"]["name"]) for each in documents]
    assert ("Deployment", "polevpn-router") in kinds
    assert ("Deployment", "polevpn-gateway") in kinds
    by_name = {each["metadata"]["name"]: each for each in documents if each["kind"] != "Service"}
    secret = tmp_path / "key"
    secret.write_text("a long secret\n")
    for role, capability in (("router", "NET_BIND_SERVICE"), ("gateway", "NET_ADMIN")):
        deployment = by_name[f"polevpn-{role}"]
        template = deployment["spec"]["template"]
        assert deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
        [container] = template["spec"]["containers"]
        rights = container["securityContext"]
        assert rights["capabilities"] == {"drop": ["ALL"], "add": [capability, *TO_BECOME_A_USER]}
        assert container["livenessProbe"]["exec"]["command"] == health_check()[1:]
        environment = {each["name"]: each["value"] for each in container["env"]}
        mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
        volumes = {each["name"]: each for each in template["spec"]["volumes"]}
        assert set(mounts.values()) == set(volumes)
        assert environment["POLEVPN_KEY_FROM"] == "/key/key"
        assert volumes[mounts["/key"]]["secret"]["secretName"] == "polevpn-key"
        environment["POLEVPN_KEY_FROM"] = str(secret)
        assert environment["POLEVPN_ROLE"] == role
        assert environment["POLEVPN_USER"] == "polevpn"
        environment["POLEVPN_USER"] = "nobody"
        values = configuration(environment)
        if role == "gateway":
            load_gateway(arguments(environment, tmp_path)[2])
        else:
            assert {"kcp", "tls", "key"} <= set(values)
    [service] = [each for each in documents if each["kind"] == "Service"]
    assert {port["protocol"] for port in service["spec"]["ports"]} == {"UDP", "TCP"}
    labels = by_name["polevpn-router"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels


def health_check() -> list[str]:
    """The one of the Containerfile, which all others repeat."""
    for line in (CONF / "Containerfile").read_text().replace("\\\n", " ").splitlines():
        if line.startswith("HEALTHCHECK"):
            words: list[str] = json.loads(line[line.index("[") :])
            return ["CMD", *words]
    raise AssertionError("the Containerfile has no health check")
