"""JSON of others: whole or refused with the place, in every reader."""

import json
from pathlib import Path

import pytest

from src.json_files import json_lines, parse_json, read_json, read_json_lines

ROWS = [{"text": f"one{mark}two"} for mark in ("\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r")]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_lines_end_at_line_feeds_alone(mark: bytes, end: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(mark + end.join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode())
    assert read_json_lines(path) == ROWS
    path.write_bytes(mark + json.dumps(ROWS, ensure_ascii=False).encode())
    assert read_json(path) == ROWS


def test_a_name_that_says_two_things_is_refused() -> None:
    assert parse_json('{"a": 1, "a": 1, "b": {"a": 2}}', "x") == {"a": 1, "b": {"a": 2}}
    for text in ('{"a": 1, "a": 2}', '[{"b": {"a": [1], "c": 0, "a": [2]}}]', '{"a": 1, "a": null, "a": 1}'):
        with pytest.raises(
            ValueError, match=r"^x: the key 'a' stands twice with different values, .*keep one$"
        ):
            parse_json(text, "x")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a"', "x.json is not JSON \\(Expecting ':'"),
        (b"[" * 100_000, "x.json is not JSON \\(maximum recursion"),
        (b"[1" + b"0" * 5000 + b"]", "x.json is not JSON \\(Exceeds the limit"),
        ('{"a": "ü"}'.encode("latin-1"), "x.json is not UTF-8 text \\(.* at byte 7\\); save it as UTF-8"),
        ("{}".encode("utf-16"), "x.json is not UTF-8 text"),
    ],
)
def test_what_cant_be_read_is_named(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=reason) as raised:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(raised.value)


def test_lines_are_numbered() -> None:
    assert list(json_lines('1\n\n{"a": 2}\n', "x")) == [(1, 1), (3, {"a": 2})]
    with pytest.raises(ValueError, match=r"^x:2 is not JSON"):
        list(json_lines("1\n{\n", "x"))
