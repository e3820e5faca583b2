"""PoleVPN on Trio: joins sites into one IP network over the internet."""

from __future__ import annotations

import os

from polevpn_trio import kernels

__version__ = "0.1.0"

if os.environ.get("POLEVPN_TRIO_PURE"):
    kernels.prefer_source()
