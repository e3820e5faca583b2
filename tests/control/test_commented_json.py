"""Mistakes in the text are found where the author made them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.control.commented_json import parse
from polevpn_trio.errors import ConfigError

FILE = Path("some.json")


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(FILE, text)
    assert str(caught.value).startswith("some.json: ")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("some.json: ")


def test_comments_may_follow_values_but_not_start_inside_strings() -> None:
    text = """// head
    {"url": "kcp://host:443", // tail with "quotes"
     //"gone": 1,
     "quote": "\\"//not a comment", "slash": "\\\\"//
    }// end"""
    assert parse(FILE, text) == {
        "url": "kcp://host:443",
        "quote": '"//not a comment',
        "slash": "\\",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty, expected a JSON object { ... }"),
        (" \n// nothing but this\r\n", "the file is empty, expected a JSON object { ... }"),
        ("[1]", "holds a list, expected a JSON object { ... }"),
        ('"text"', "holds a string, expected a JSON object { ... }"),
        ("null", "holds null, expected a JSON object { ... }"),
        ("NaN", "holds a number, expected a JSON object { ... }"),
        ('{"a": 1,}', "line 1, column 8: found ',' before '}', expected no comma there"),
        (
            '{"a": [1, // one\n  2, // two\n ]}',
            "line 2, column 4: found ',' before ']', expected no comma there",
        ),
        (
            '// comment\n{"a": 1 // one\n "b": 2}',
            "line 3, column 2: found '\"', expected ',' or a closing bracket after the value",
        ),
        ('{"a" 1}', "line 1, column 6: expected ':' after the key"),
        ('{"a": }', "line 1, column 7: found '}', expected a value"),
        ('{"a": secret}', "line 1, column 7: expected a value"),
        ("{a: 1}", "line 1, column 2: expected a key in double quotes, or '}'"),
        (
            "{'a': 1}",
            "line 1, column 2: found \"'\", expected a key in double quotes, or '}'",
        ),
        (
            '{"a": 1',
            "line 1, column 8: the file ends here, "
            "expected ',' or a closing bracket after the value",
        ),
        (
            '{"a": "secret',
            "line 1, column 7: expected '\"' at the end of the string, on the same line",
        ),
        (
            '{"a": "secret\n}',
            "line 1, column 14: expected '\"' at the end of the string, on the same line",
        ),
        (
            '{"a": "\\d"}',
            "line 1, column 8: expected one of "
            '\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX after a backslash',
        ),
        ("{} {}", "line 1, column 4: found '{', expected nothing after the closing '}'"),
        (
            "{/* old */}",
            "line 1, column 2: found '/', expected a key in double quotes, or '}' "
            "(comments start with //)",
        ),
        (
            '{"a": 1}\n# done',
            "line 2, column 1: found '#', expected nothing after the closing '}' "
            "(comments start with //)",
        ),
        ("[" * 100_000, "nested too deeply, expected a JSON object { ... }"),
    ],
)
def test_broken_text_is_explained(text: str, expected: str) -> None:
    assert problem(text) == expected


def test_a_broken_escape_is_explained() -> None:
    # Python's releases count the column from different parts of the escape.
    said = problem('{\n"a": "\\uzzzz"}')
    assert said.startswith("line 2, column ")
    assert said.endswith(": expected four hexadecimal digits after \\u")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"a": 1, "a": 1}', "a"),
        ('{"kcp": {"listen": "x", "listen": "y"}}', "kcp.listen"),
        ('{"list": [0, {"b": {}, "b": {}}]}', "list[1].b"),
        ('{"new\\nline": 1, "new\\nline": 2}', "new\\nline"),
    ],
)
def test_a_key_given_twice_is_named_with_its_path(text: str, key: str) -> None:
    assert problem(text) == f"{key}: given twice, expected each key once"


def test_endless_numbers_cost_no_time_and_pass_for_infinity() -> None:
    members = parse(FILE, '{"a": ' + "9" * 500_000 + ', "b": 1.' + "9" * 500_000 + "}")
    assert members == {"a": float("inf"), "b": float("inf")}


@given(st.text() | st.text('{}[]",:/\\ \n1eE-.tfn#').map(lambda text: "{" + text))
def test_any_text_is_an_object_or_a_config_error(text: str) -> None:
    try:
        members = parse(FILE, text)
    except ConfigError as error:
        problem = str(error)
    else:
        problem = ""
        assert isinstance(members, dict)
    assert "\n" not in problem


@given(st.dictionaries(st.text(), st.text() | st.integers(-(10**15), 10**15) | st.lists(st.text())))
def test_what_json_writes_is_read_back_with_comments_between(value: object) -> None:
    lines = json.dumps(value, indent=1).splitlines()
    text = "\n".join(f'{line}  // "a", {{ // }}' for line in lines)
    assert parse(FILE, text) == value
