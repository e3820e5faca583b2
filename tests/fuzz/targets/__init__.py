"""The targets: one entry for each kind of untrusted bytes."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import browsers, datagrams, framing, links, queues, streams, texts

TARGETS = (
    Target("codec", framing.codec, kernel=True),
    Target("segmentation", framing.segmentation, kernel=True),
    Target("ip", framing.ip, kernel=True, longest=512),
    Target("splitter", framing.splitter, kernel=True),
    Target("coalescer", framing.coalescer, kernel=True),
    Target("kcp-hostile", links.kcp_hostile, kernel=True, longest=1024),
    Target("kcp-network", links.kcp_network, kernel=True, longest=512),
    Target("acknowledgement", datagrams.acknowledgement, kernel=True, longest=512),
    Target("datagram-hostile", datagrams.datagram_hostile, kernel=True, longest=1024),
    Target("datagram-frames", datagrams.datagram_frames, kernel=True, longest=1024),
    Target("flow-class", datagrams.flow_class, kernel=True, longest=256),
    Target("repair-hostile", datagrams.repair_hostile, kernel=True, longest=1024),
    Target("repair-network", datagrams.repair_network, kernel=True, longest=256),
    Target("records-open", links.records_open, kernel=True, longest=1024),
    Target("records-seal", links.records_seal, kernel=True, longest=256),
    Target("tls-records", streams.tls_records, kernel=True, longest=512),
    Target("tls-session", streams.tls_session, kernel=True, longest=512),
    Target("handshake", links.handshake, kernel=False, longest=1024),
    Target("websocket-read", links.websocket_read, kernel=True, longest=2048),
    Target("websocket-build", links.websocket_build, kernel=True, longest=1024),
    Target("flow-queue", queues.flow_queue, kernel=True, longest=1024),
    Target("source-filter", queues.source_filter, kernel=True, longest=1024),
    Target("policy", queues.policy, kernel=True, longest=1024),
    Target("messages", texts.messages, kernel=False),
    Target("registration", texts.registration, kernel=False, longest=1024),
    Target("control-request", texts.control_request, kernel=False, longest=1024),
    Target("login-proof", texts.login_proof, kernel=False, longest=256),
    Target("configuration", texts.configuration, kernel=False),
    Target("known-routers", texts.known_routers, kernel=False, longest=1024),
    Target("join-string", texts.join_string, kernel=False, longest=1024),
    Target("commented-json", texts.commented_json, kernel=False, longest=1024),
    Target("http-request", texts.http_request, kernel=False, longest=2048),
    Target("dashboard", browsers.dashboard, kernel=False, longest=1024),
    Target("router-answers", texts.router_answers, kernel=False, longest=512),
    Target("addresses", texts.addresses, kernel=False, longest=256),
)
