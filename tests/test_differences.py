"""Settings that differ are named, wherever in a tree they are."""

from src.differences import ABSENT, differing_leaves, leaves, unlike_request


def test_leaves_have_dotted_names() -> None:
    tree = {"a": {"b": 1, "c": [{"d": 2}, 3]}, "e": None}
    assert dict(leaves(tree)) == {"a.b": 1, "a.c": [{"d": 2}, 3], "e": None}
    assert dict(leaves(tree, into_lists=True)) == {"a.b": 1, "a.c.0.d": 2, "a.c.1": 3, "e": None}


def test_every_difference_has_both_values() -> None:
    old, new = {"a": {"b": 1, "same": 2}, "gone": 3}, {"a": {"b": 4, "same": 2, "new": None}}
    assert differing_leaves(old, new) == [("a.b", 1, 4), ("gone", 3, ABSENT), ("a.new", ABSENT, None)]


def test_a_request_may_lack_what_is_none() -> None:
    assert unlike_request({"a": 1}, {"b": (1, 2), "c": None}) == [
        "a: 1 there, nothing asked for",
        "b: nothing there, [1, 2] asked for",
    ]
    assert unlike_request({"a": [5.0]}, {"a": (5,)}) == []
    assert unlike_request({"a": None}, {"a": [5]}) == ["a: None there, [5] asked for"]
