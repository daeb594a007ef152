"""Shape and type checks that a suite can afford: of every function of src, the first calls in each test are
checked, and every fiftieth after them; in slow tests, all.

A check costs 80 µs, several times what many functions here cost themselves, and a law over hundreds of images
calls each function thousands of times, nearly always with the shapes of the first calls. Checks of a function
are made when it is first called, not when it is imported.
"""

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jaxtyping

FIRST, EVERY = 3, 50

_check = jaxtyping.jaxtyped
_test, _every = 0, EVERY


def begin_test(all_calls: bool = False) -> None:
    """From here on the first calls of every function are checked again, or all calls."""
    global _test, _every
    _test, _every = _test + 1, 1 if all_calls else EVERY


def checked_at_first(function: Callable[..., Any], typechecker: object) -> Callable[..., Any]:
    """The function, its first calls in each test checked by `typechecker`."""
    test, calls, checked = -1, 0, None

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        nonlocal test, calls, checked
        if test != _test:
            test, calls = _test, 0
        calls += 1
        if calls > FIRST and calls % _every:
            return function(*args, **kwargs)
        if checked is None:
            checked = _check(function, typechecker=typechecker)
        return checked(*args, **kwargs)

    return call


def jaxtyped(decorated: Any = None, *, typechecker: object) -> Any:
    """What takes the place of `jaxtyping.jaxtyped`, by which pytest's option --jaxtyping-packages decorates
    every function and every dataclass.
    """
    if decorated is None:
        return partial(jaxtyped, typechecker=typechecker)
    if inspect.isclass(decorated):
        if dataclasses.is_dataclass(decorated) and "__init__" in vars(decorated):
            decorated.__init__ = checked_at_first(decorated.__init__, typechecker)
        return decorated
    if isinstance(decorated, classmethod | staticmethod):
        return type(decorated)(checked_at_first(decorated.__func__, typechecker))
    if isinstance(decorated, property):
        accessors = (decorated.fget, decorated.fset, decorated.fdel)
        return property(*(each and checked_at_first(each, typechecker) for each in accessors))
    return checked_at_first(decorated, typechecker)


jaxtyping.jaxtyped = jaxtyped
