"""Async functions of compiled modules, as coroutines that Trio knows all about.

What Cython makes of an ``async def`` can be awaited, but lacks some of what a coroutine of Python
tells of itself. Trio looks at that where a lock is used in a task that began with such a one, and
then the task fails.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def of_python(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Have calls give a coroutine of Python: a decorator for each async function of `EDGES`.

    (`polevpn_trio.kernels.EDGES`.) It costs one more frame for each call.
    """

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return await function(*args, **kwargs)

    return call
