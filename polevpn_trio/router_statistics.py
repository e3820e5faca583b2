"""What the router counts, as its tree shows it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from polevpn_trio.control.admission import AdmissionStatistics
from polevpn_trio.forwarding.forwarder import ForwarderStatistics
from polevpn_trio.transport import dtls
from polevpn_trio.transport.base import LinkStatistics
from polevpn_trio.transport.outgoing import OutgoingStatistics


@attrs.frozen
class ConnectionStatistics:
    """Counters of one gateway's connection; ``malformed`` packets came from it.

    So did those that were ``refused``, by reason.
    """

    link: LinkStatistics
    outgoing: OutgoingStatistics
    malformed: int
    refused: Mapping[str, int]


@attrs.frozen
class RouterStatistics:
    """Counters of the whole router; ``strangers`` ended without a login, whatever they tried."""

    forwarder: ForwarderStatistics
    strangers: int


@attrs.frozen
class UdpListenerStatistics:
    """Counters of the UDP listener; ``admission`` is the whole router's, for all listeners."""

    endpoint: dtls.EndpointStatistics
    admission: AdmissionStatistics
