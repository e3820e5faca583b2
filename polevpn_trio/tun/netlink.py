"""What the kernel's refusals of a netlink request or a sysctl mean to an operator."""

from __future__ import annotations

import errno
import os

from pyroute2.netlink.exceptions import NetlinkError

from polevpn_trio.errors import HostError

REFUSALS = (NetlinkError, OSError)
"""What a netlink call or a write below /proc/sys raises when the kernel says no."""

ROUTE_PROTOCOL = 80
"""The ``proto`` of every route that we add (rtnetlink(7): who installed it).

The kernel passes it through. A route is deleted only together with this number, so that an
identical route of the operator's own, or a wrong entry in a journal, never costs him one.
"""


def error_number(error: BaseException | None) -> int:
    """Return the errno of a refusal, 0 if it has none."""
    number = error.code if isinstance(error, NetlinkError) else getattr(error, "errno", None)
    return int(number or 0)


def is_not_permitted(error: BaseException | None) -> bool:
    """Tell whether a refusal means that we lack the rights."""
    return error_number(error) in (errno.EPERM, errno.EACCES)


def host_error(action: str, error: BaseException) -> HostError:
    """Build the error that tells an operator why ``action`` ("add the route ...") failed."""
    if is_not_permitted(error):
        return HostError(
            f"not permitted to {action}: root or CAP_NET_ADMIN is needed",
            advice="start it as root, or as a service that has that right (conf/systemd)",
        )
    number = error_number(error)
    reason = os.strerror(number) if number else str(error)
    return HostError(
        f"cannot {action}: {reason}", advice="`doctor FILE` shows what may stand in the way"
    )
