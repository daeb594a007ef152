"""JSON and JSON lines, from others and our own: one way to read them, whose errors name the place.

A byte order mark is no part of the text. JSON lines end at line feeds alone, as texts may hold U+2028 and its
kind. A name that stands twice in an object, with different values, is refused, since either may be meant.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any


def parse_json(text: str | bytes, where: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: not JSON, or a name twice with different values; the message begins with `where`.
    """
    return parse_pairs(text, where, partial(_unique, where))


def parse_pairs(text: str | bytes, where: str, of_object: Any) -> Any:
    """`parse_json` where `of_object` makes an object of its (name, value) pairs."""
    try:
        return json.loads(text, object_pairs_hook=of_object)
    except RepeatedNameError:
        raise
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(where, error)) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON ({error})") from error


def read_finite_json(path: Path) -> Any:
    """The value in a .json file of this project, which writes neither NaN nor infinity.

    Raises:
        ValueError: not JSON, or NaN or infinity is in it.
        OSError: it can't be read.
    """
    return parse_finite(read_text(path))


def parse_finite(text: str) -> Any:
    """The value of a JSON text. Raises ValueError if it is none, or holds NaN or infinity."""
    return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} stands where a number belongs")


def read_json(path: Path) -> Any:
    """The value in a .json file. Raises ValueError as `parse_json`, OSError."""
    return parse_json(read_text(path), str(path))


def read_json_lines(path: Path) -> list[Any]:
    """The values in a .jsonl file. Raises ValueError as `parse_json`, OSError."""
    return [value for _, value in json_lines(read_text(path), str(path))]


def json_lines(text: str, where: str) -> Iterator[tuple[int, Any]]:
    """The values of JSON lines, each with the number of its line; blank lines are skipped.

    Raises:
        ValueError: as `parse_json`, naming the line.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, parse_json(line, f"{where}:{number}")


def read_text(path: Path) -> str:
    """The text of a file, without a byte order mark. Raises ValueError for one that is not UTF-8, OSError."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(str(path), error)) from error


class RepeatedNameError(ValueError):
    """An object says two things under one name."""


def _unique(where: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        _check_repeats(pairs, where)
    return found


def _check_repeats(pairs: list[tuple[str, Any]], where: str) -> None:
    seen: dict[str, Any] = {}
    for name, value in pairs:
        if seen.setdefault(name, value) != value:
            raise RepeatedNameError(
                f"{where}: the key {name!r} stands twice with different values, {str(seen[name])[:60]} and "
                f"{str(value)[:60]}; keep one"
            )


def _not_utf8(where: str, error: UnicodeDecodeError) -> str:
    return f"{where} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
