"""The part of a gateway's configuration that says how the router is verified."""

from __future__ import annotations

from polevpn_trio.control import addresses
from polevpn_trio.control.certificates import Unfit, read_authorities
from polevpn_trio.control.fingerprint import EXPECTED, parse_fingerprint
from polevpn_trio.control.known_routers import usual_file
from polevpn_trio.control.members import Members, shown
from polevpn_trio.control.router_trust import Authority, FirstUse, Insecure, Pinned, RouterTrust

_AUTHORITY_KEYS = ("ca_file", "name")


def router_trust(top: Members) -> RouterTrust:
    """How the router is verified; by its first use unless the file says otherwise."""
    known = usual_file()
    if top.has("known_routers"):
        expected = "the path of the file that remembers routers"
        text = top.text("known_routers", expected)
        if text:
            known = top.report.file.parent / text
        elif text == "":
            top.problem("known_routers", f"empty, expected {expected}")
    if not top.has("verify_router"):
        return FirstUse(known)
    value = top.value("verify_router")
    if value == "first-use":
        return FirstUse(known)
    if value == "insecure":
        top.warn("verify_router", "insecure: anybody in between can pose as the router")
        return Insecure()
    if isinstance(value, dict):
        return _authority(top)
    expected = f'"first-use", "insecure", an object with ca_file, or {EXPECTED}, or a list of these'
    pins: list[bytes] = []
    for name, text in top.texts("verify_router", expected, one_or_more=True):
        try:
            pins.append(parse_fingerprint(text))
        except ValueError:
            top.problem(name, f'"{shown(text)}", expected {expected}')
    return Pinned(tuple(pins))


def _authority(top: Members) -> RouterTrust:
    members = top.section("verify_router", _AUTHORITY_KEYS)
    expected = "the path of the certificates of authorities in PEM form"
    if members is None or not members.required("ca_file", expected):
        return Pinned(())
    text = members.text("ca_file", expected)
    name = None
    if members.has("name"):
        name = members.text("name", "the host name or address in the router's certificate")
        if name is not None and not addresses.is_host(name):
            members.problem("name", f'"{shown(name)}", expected a host name or an address')
    if text is None:
        return Pinned(())
    file = top.report.locate(text)
    try:
        return Authority(read_authorities(file), name, file)
    except Unfit as unfit:
        members.problem("ca_file", unfit.problem)
        return Pinned(())
