"""The ``metrics`` section of both roles' files: where Prometheus may ask a running program."""

from __future__ import annotations

import attrs

from polevpn_trio.control import addresses
from polevpn_trio.control.members import Members

KEYS = ("listen",)

METRICS_PATH = "/metrics"

_EXPECTED = 'an address such as "127.0.0.1:9461"'


@attrs.frozen
class MetricsConfig:
    """Where metrics are served, over plain HTTP, to whoever gets through to it."""

    host: str
    """Address or host name; "" means every address of the machine, IPv4 and IPv6."""
    port: int


def metrics_config(top: Members) -> MetricsConfig | None:
    """Read the section from the members of a file; mistakes are reported there."""
    members = top.section("metrics", KEYS) if top.has("metrics") else None
    if members is None or not members.required("listen", _EXPECTED):
        return None
    listen = members.text("listen", _EXPECTED)
    if listen is None:
        return None
    try:
        host, port = addresses.parse_listen(listen)
    except addresses.AddressMistake as mistake:
        members.problem("listen", str(mistake))
        return None
    if not addresses.is_loopback(host):
        members.warn(
            "listen", "not a loopback address: whoever reaches it reads the names of all sites"
        )
    return MetricsConfig(host, port)
