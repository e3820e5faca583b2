"""Masquerading of what comes out of the tunnel, by an nftables table of our own.

The messages are built here and sent over netlink, so no ``nft`` binary is needed; what it
would print for the table is::

    table inet polevpn_trio_pole0 {
        chain postrouting {
            type nat hook postrouting priority srcnat; policy accept;
            iifname "pole0" oifname != "pole0" masquerade
        }
    }

A table of its own keeps clear of the operator's rules: nothing of his is read or changed,
and taking ours away is one message. The family ``inet`` serves IPv4 and IPv6 with one rule
(NAT in it exists since Linux 5.2).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable
from typing import Any

from pyroute2.netlink import (
    NETLINK_NETFILTER,
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    NLMSG_ERROR,
)
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg
from pyroute2.netlink.nfnetlink.nftsocket import (
    NFPROTO_INET,
    NFT_MSG_DELTABLE,
    NFT_MSG_NEWCHAIN,
    NFT_MSG_NEWRULE,
    NFT_MSG_NEWTABLE,
    Cmp,
    Meta,
    Regs,
    nft_chain_msg,
    nft_rule_msg,
    nft_table_msg,
)
from pyroute2.nftables.expressions import genex, masq

from polevpn_trio.errors import HostError
from polevpn_trio.tun.netlink import REFUSALS, error_number, host_error

TABLE_PREFIX = "polevpn_trio_"
CHAIN = "postrouting"

# linux/netfilter/nfnetlink.h: messages between these two are one transaction.
_BATCH_BEGIN = 0x10
_BATCH_END = 0x11

# linux/netfilter_ipv4.h: the hook after routing, and NF_IP_PRI_NAT_SRC, the usual place of
# source NAT in it: filters and mangling still see the addresses from the tunnel.
_HOOK_POSTROUTING = 4
_PRIORITY_SRCNAT = 100

_INTERFACE_NAME_SIZE = 16
"""IFNAMSIZ; the kernel compares names as NUL-padded fields of this size."""

_ANSWER = struct.Struct("=IHHIIi")
"""nlmsghdr (size, type, flags, sequence, port) and the error code of an nlmsgerr behind it."""

_ANSWER_SIZE = 65_536
"""Bytes to receive at once; the answers to one of our transactions take a few hundred."""

_ANSWER_TIMEOUT = 5.0
"""Seconds; the kernel answers within the call that sends, so this should never run out."""

_UNSUPPORTED = frozenset(
    {errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT}
)
"""How a kernel answers that lacks nf_tables, its NAT chains or the masquerade expression."""


def table_name(interface: str) -> str:
    """Return the name of the table that serves ``interface``."""
    return TABLE_PREFIX + interface


def add_masquerade(interface: str) -> None:
    """Let packets from ``interface`` leave by other interfaces under those' own addresses.

    Replaces a table of the same name, in one transaction: there is no moment with half a
    rule set, and after an error nothing has changed. Blocks for a netlink round trip (a few
    milliseconds), so call it from a worker thread.

    Raises `HostError` when the kernel has no nf_tables with NAT, or does not permit it.
    """
    table = table_name(interface)
    try:
        _transact(
            # To delete what may not be there is an error; to create it first is not.
            _message(nft_table_msg, NFT_MSG_NEWTABLE, NLM_F_CREATE, NFTA_TABLE_NAME=table),
            _message(nft_table_msg, NFT_MSG_DELTABLE, NFTA_TABLE_NAME=table),
            _message(nft_table_msg, NFT_MSG_NEWTABLE, NLM_F_CREATE, NFTA_TABLE_NAME=table),
            _message(
                nft_chain_msg,
                NFT_MSG_NEWCHAIN,
                NLM_F_CREATE,
                NFTA_CHAIN_TABLE=table,
                NFTA_CHAIN_NAME=CHAIN,
                NFTA_CHAIN_HOOK={
                    "attrs": [
                        ["NFTA_HOOK_HOOKNUM", _HOOK_POSTROUTING],
                        ["NFTA_HOOK_PRIORITY", _PRIORITY_SRCNAT],
                    ]
                },
                NFTA_CHAIN_TYPE="nat",
            ),
            _message(
                nft_rule_msg,
                NFT_MSG_NEWRULE,
                NLM_F_CREATE | NLM_F_APPEND,
                NFTA_RULE_TABLE=table,
                NFTA_RULE_CHAIN=CHAIN,
                NFTA_RULE_EXPRESSIONS=[
                    *_compare_name(Meta.NFT_META_IIFNAME, Cmp.NFT_CMP_EQ, interface),
                    *_compare_name(Meta.NFT_META_OIFNAME, Cmp.NFT_CMP_NEQ, interface),
                    *masq(),
                ],
            ),
        )
    except REFUSALS as error:
        if error_number(error) in _UNSUPPORTED:
            raise HostError(
                "masquerade: this kernel has no nf_tables with NAT (the modules nf_tables, "
                "nft_chain_nat and nft_masq, Linux 5.2 or later)",
                advice="load them, or go without masquerade, and give the hosts of the LAN a route "
                "back",
            ) from error
        raise host_error(f"masquerade packets from {interface}", error) from error


def remove_masquerade(interface: str) -> None:
    """Take away what `add_masquerade` made for ``interface``; does nothing if it is not there.

    Blocks for a netlink round trip. Raises `HostError` when it is not permitted.
    """
    try:
        _transact(_message(nft_table_msg, NFT_MSG_DELTABLE, NFTA_TABLE_NAME=table_name(interface)))
    except REFUSALS as error:
        # Without nf_tables there is no table either.
        if error_number(error) not in _UNSUPPORTED:
            raise host_error(f"remove the masquerading for {interface}", error) from error


def _transact(*messages: Any) -> None:
    """Send messages as one transaction and wait for the answers. Raises OSError."""
    # Not by pyroute2's own requests: when the kernel refuses the transaction as a whole (not
    # permitted, no nf_tables), it answers to the opening message alone, and pyroute2, which
    # expects answers to the messages inside, would wait for ever.
    request = bytearray()
    for number, message in enumerate([_edge(_BATCH_BEGIN), *messages, _edge(_BATCH_END)]):
        message["header"]["sequence_number"] = number
        message.encode()
        request += message.data
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
        kernel.bind((0, 0))
        kernel.settimeout(_ANSWER_TIMEOUT)
        kernel.sendto(request, (0, 0))
        missing = len(messages)
        while missing > 0:
            answers = kernel.recv(_ANSWER_SIZE)
            while answers:
                size, kind, _, _, _, code = _ANSWER.unpack_from(answers)
                if kind == NLMSG_ERROR and code:
                    raise OSError(-code, os.strerror(-code))
                if kind == NLMSG_ERROR:
                    missing -= 1
                answers = answers[size + 3 & ~3 :]


def _message(kind: Any, number: int, flags: int = 0, **attributes: object) -> Any:
    message = kind()
    message["attrs"] = list(attributes.items())
    message["header"]["type"] = NFNL_SUBSYS_NFTABLES << 8 | number
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | flags
    message["nfgen_family"] = NFPROTO_INET
    return message


def _edge(number: int) -> Any:
    message = nfgen_msg()
    message["res_id"] = NFNL_SUBSYS_NFTABLES
    message["header"]["type"] = number
    message["header"]["flags"] = NLM_F_REQUEST
    return message


def _compare_name(key: Meta, operator: Cmp, interface: str) -> Iterable[Any]:
    name = interface.encode().ljust(_INTERFACE_NAME_SIZE, b"\0")
    return (
        genex("meta", {"KEY": key, "DREG": Regs.NFT_REG_1}),
        genex(
            "cmp",
            {
                "SREG": Regs.NFT_REG_1,
                "OP": operator,
                "DATA": {"attrs": [("NFTA_DATA_VALUE", name)]},
            },
        ),
    )
