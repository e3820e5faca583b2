"""Who registers what, and goes: steps for tests that compare a forwarder with plain lists."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from hypothesis import strategies as st

ADDRESSES = st.integers(0, 3).map(lambda number: IPv4Address("10.8.0.0") + number)
NETWORKS = st.sampled_from(
    [IPv4Network(text) for text in ("0.0.0.0/0", "10.8.0.0/16", "10.8.0.0/30", "10.8.0.2/32")]
)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.none() | st.tuples(st.lists(ADDRESSES, max_size=2), st.lists(NETWORKS, max_size=3)),
    ),
    max_size=12,
)
