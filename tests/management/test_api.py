"""Requests and answers of the control socket."""

from __future__ import annotations

import json
import math
from ipaddress import ip_address
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.management import writing
from polevpn_trio.management.api import ApiError, Params, Request, parse_request_untrusted
from polevpn_trio.management.writing import pieces
from polevpn_trio.nursery_tree import NodeSnapshot


def code_of(line: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        parse_request_untrusted(line)
    return caught.value.code


def test_a_request_survives_the_way() -> None:
    request = Request("explain", {"source": "10.0.0.1"}, 7)
    line = request.to_json()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert parse_request_untrusted(line) == request


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", "bad-request"),
        (b"status", "bad-request"),
        (b"[" * 5000, "bad-request"),
        (b"\xff\xfe", "bad-request"),
        (b"[]", "bad-request"),
        (b'{"method": "status"}', "bad-version"),
        (b'{"version": 2, "method": "status"}', "bad-version"),
        (b'{"version": 1}', "bad-request"),
        (b'{"version": 1, "method": 5}', "bad-request"),
        (b'{"version": 1, "method": "status", "params": []}', "bad-request"),
        (b'{"version": 1, "method": "status", "id": {}}', "bad-request"),
        (b'{"version": 1, "method": "status", "id": true}', "bad-request"),
    ],
)
def test_what_is_no_request_is_refused(line: bytes, code: str) -> None:
    assert code_of(line) == code


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    ).map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {
            "version": st.just(1),
            "method": st.text(max_size=9),
            "params": st.dictionaries(
                st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3
            ),
        }
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_line_is_a_request_or_refused(line: bytes) -> None:
    try:
        request = parse_request_untrusted(line)
    except ApiError as error:
        json.loads(writing.error_line(None, error))
    else:
        assert isinstance(request.method, str)


@pytest.mark.parametrize(
    ("take", "value"),
    [
        (lambda params: params.whole("x", 5, 10), value)
        for value in (-1, 1.5, "1", True, None, math.inf)
    ]
    + [
        (lambda params: params.seconds("x", 5, 10), value)
        for value in (-1, 10.5, "1", True, None, math.nan)
    ]
    + [(lambda params: params.flag("x"), value) for value in (0, "true", None)]
    + [
        (lambda params: params.address("x"), value)
        for value in (0, "", "10.0.0", "fe80::1%eth0", None, ["10.0.0.1"])
    ],
)
def test_a_parameter_of_the_wrong_kind_is_refused_by_name(take: Any, value: object) -> None:
    with pytest.raises(ApiError, match=r"^x: expected"):
        take(Params({"x": value}))


def test_parameters_have_defaults_and_bounds() -> None:
    params = Params({"a": 7, "b": 0.5, "c": True, "d": "fd00::1"})
    assert params.whole("a", 1, 3) == 3
    assert params.whole("other", 1, 3) == 1
    assert params.seconds("b", 1.0, 3.0) == 0.5
    assert params.flag("c")
    assert not params.flag("other")
    assert params.address("d") == ip_address("fd00::1")
    params.finish()


def test_a_misspelt_parameter_is_refused() -> None:
    params = Params({"ovr": 1, "x\x1b": 2})
    params.seconds("over", 0.0, 10.0)
    with pytest.raises(ApiError, match="ovr, x"):
        params.finish()


@attrs.frozen
class Inner:
    name: str
    value: float | None


@attrs.frozen
class Outer:
    inner: Inner
    several: tuple[Inner, ...]
    names: frozenset[str]
    counters: dict[str, int]


def test_objects_are_written_with_all_that_is_in_them() -> None:
    value = Outer(
        Inner('a"\n', 0.5), (Inner("b", None), Inner("c", math.inf)), frozenset({"x"}), {"y": 2}
    )
    found = list(pieces(value))
    assert len(found) > 5
    assert json.loads("".join(found)) == {
        "inner": {"name": 'a"\n', "value": 0.5},
        "several": [{"name": "b", "value": None}, {"name": "c", "value": None}],
        "names": ["x"],
        "counters": {"y": 2},
    }


def test_counters_of_a_tree_are_read_as_they_are_written() -> None:
    reads: list[int] = []

    def statistics() -> Inner:
        reads.append(len(reads))
        return Inner("x", len(reads))

    leaves = tuple(NodeSnapshot(name, 1.0, statistics, ()) for name in "ab")
    written = pieces(NodeSnapshot("root", 2.0, None, leaves))
    next(written)
    assert reads == []
    rest = json.loads('{"name":"root","age":2.0,"statistics":null' + "".join(written))
    assert [child["statistics"]["value"] for child in rest["children"]] == [1, 2]
