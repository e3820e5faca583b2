"""The doctor's probes as the Go router meets them: an independent classic router answers them."""

from __future__ import annotations

import json
import socket
import sys

import pytest

from polevpn_trio.lab.namespaces import Lab
from tests.interop.classic_links import Pump
from tests.interop.classic_router import ClassicRouter
from tests.interop.product import KEY, GatewayRun, environment

pytestmark = pytest.mark.needs_root_lab


@pytest.mark.parametrize("scheme", ["kcp", "tls"])
def test_the_probes_are_answered_and_leave_nothing_behind(scheme: str, pump: Pump) -> None:
    with Lab() as lab:
        run = GatewayRun(lab, f"doctor-{scheme}", scheme)
        udp, tcp = run.bind(socket.SOCK_DGRAM), run.bind(socket.SOCK_STREAM)
        router = pump.add(ClassicRouter(udp, tcp, key=KEY))
        config = {
            "route_server": f"{scheme}://127.0.0.1:{run.PORT}",
            "key": KEY,
            "classic": True,
            "gateway": run.OWN,
        }
        path = run.host.write_file("gateway.json", json.dumps(config), mode=0o600)
        doctor = run.host.start(
            [sys.executable, "-W", "error::ResourceWarning", "-m", "polevpn_trio", "doctor", path],
            name="doctor",
            environment=environment(),
        )
        pump.until(lambda: doctor.returncode is not None, "the doctor has seen all", 60)
        said = doctor.log()
        protocol = "udp" if scheme == "kcp" else "tcp"
        assert f": ok: {protocol}: 127.0.0.1 {protocol} port {run.PORT} answers" in said, said
        if scheme == "kcp":
            assert ": ok: path-mtu: packets of 1500 bytes" in said
        pump.until(lambda: not router.live, "no connection is left")
        assert not router.violations
