"""What an operator can do about what goes wrong: the second half of a line in the log.

Each says what to look at or what to change, in words that can be typed.
"""

from __future__ import annotations

import errno
import os

from polevpn_trio.errors import HostError

# --- Both, about their configuration

CHECK = "correct it in the configuration; `check FILE` tells whether that is all"

# --- A router, about its gateways

WRONG_KEY = "give that gateway the key of this router: `key` must be the same in both files"
NAMELESS = "give that gateway a `name` and a key of its own (`keys site`), or set admit_shared_key"
UNKNOWN_SITE = "if it is one of yours, add it to `gateways` in the router's file (`keys site`)"
WRONG_SITE_KEY = (
    "put the site's own key into that gateway's file, or the new one's hash into key_hash"
)
WRONG_CERTIFICATE = (
    "put the fingerprint of that gateway's certificate into `certificate` of the site"
)
CLOSED_SITE = "if it may come in, correct `disabled` or `expires` of the site in the router's file"
CUT_OFF = "if that was not meant, correct the router's file and `reload`"
CLASSIC_GATEWAY = (
    'run this implementation there, which proves the key; or allow it: "classic": true'
)
NOT_GIVEN = (
    "give it to the site (`addresses`, `networks`, or another `priority` in the router's file), or "
    "correct its gateway's"
)
SPOOFED = (
    "if its hosts have such addresses, name their network in local_networks there (and in "
    '`networks` of the site here), or allow any: "source_check": false; else find who forges them'
)
UNREGISTERED = (
    'let its gateway register where it sends from, or allow any source: "source_check": false'
)
DENIED = (
    "if it may, let a rule of `policy` in the router's file allow it, before the one that denies "
    "it; `explain SRC DST PROTOCOL PORT` tells which one decides"
)
UNRELATED = (
    "nothing, if it is seldom: an error or a fragment that belongs to nothing that was let in; "
    "else look at who sends it"
)
TOO_MUCH = "if it needs that many, raise the limit under `limits` in the router's file"
STRANGER = "nothing, unless it is a gateway of yours: port scanners do this; else see its log"
CROWD = (
    "if this goes on, somebody floods the port: let only your sites' addresses through to it; if "
    "these are your sites, raise the limit under `limits`"
)
LEFT = "its gateway was ended, or started anew: if it stays away, see whether it runs there"
SILENCE = "see whether that gateway runs, and whether its uplink does"
STALLED = "see whether that gateway is overloaded, or its uplink too slow"
ANEW = "if this goes on, two gateways have the same address: give one another `gateway`"
OVERLAP = "if one is the other's standby, nothing; else correct local_networks of one of them"
UNUSABLE = "correct gateway and local_networks in that gateway's file"

# --- A gateway, about its routers

CLASSIC_ROUTER = (
    'if it is one of the PoleVPN originals, allow our key to be sent to it: "classic": true; else '
    "compare name and key with what the router knows"
)
UNTRUSTED = (
    "somebody else may answer there: look before you change anything; then see known_routers"
)
REFUSED_LOGIN = (
    "compare `key`, and `name` if there is one, in this file with what the router's file has"
)
REFUSED_REGISTRATION = "compare gateway and local_networks in this file with what the router allows"
NO_LOGIN_ANSWER = "see whether a PoleVPN router listens there, and look into its log"
ROUTER_SILENT = "see whether the router runs, and whether this site's uplink does"
ROUTER_LEFT = (
    "the router's log says why, unless it was ended or started anew; this gateway goes on trying"
)
NOBODY_LISTENS = "start the router there, or correct route_server"
NO_NAME = "correct the name in route_server, or this machine's DNS"
NO_UDP = (
    "see whether the router runs and UDP gets to it; where UDP is blocked, name a tls:// server "
    "in route_server as well"
)
NO_TCP = "see whether the router runs, and whether a firewall on the way lets TCP to its port"


# --- Both, about this machine

CANNOT_WRITE = "make its folder, or let this user write there"
NO_SOCKET = "`doctor` tells whether open files are short; `ulimit -n` gives more"


def cannot_listen(protocol: str, host: str, port: int, error: OSError) -> HostError:
    """The error for a port ("udp" or "tcp") that cannot be had."""
    advice = {
        errno.EADDRINUSE: f"`ss -ln{protocol[0]}p sport = :{port}` shows who has it; end that, "
        "or change listen",
        errno.EADDRNOTAVAIL: "no interface of this machine has that address: correct listen",
        errno.EACCES: "ports below 1024 take root, or CAP_NET_BIND_SERVICE; a program that has "
        "become its `user` gets that by a restart",
    }
    # Python adds the address to the kernel's words; for a name it is no error of the kernel's.
    known = error.errno in errno.errorcode
    reason = (os.strerror(error.errno or 0) if known else error.strerror or str(error)).lower()
    return HostError(
        f"cannot listen on {protocol} {host or '*'}:{port}: {reason}",
        advice=advice.get(error.errno or 0, ""),
    )
