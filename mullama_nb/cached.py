"""A property that is computed once, without a lock that an interrupt could leave taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ["cached"]

T = TypeVar("T")


class cached(Generic[T]):  # noqa: N801 - used as a decorator
    """Compute a value on first access, and keep it with its object.

    Up to Python 3.11 ``functools.cached_property`` has one lock for all objects of a class. An
    interrupt on the way out of it leaves it taken, and every other thread waits forever. Here two
    concurrent threads may both compute the value; it must not matter whose is kept.

    Parameters
    ----------
    compute : callable
        Returns the value for an object that has a ``__dict__``.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, owner: None, kind: type) -> cached[T]: ...
    @overload
    def __get__(self, owner: object, kind: type) -> T: ...
    def __get__(self, owner: object | None, kind: type) -> cached[T] | T:
        """Return the value; afterwards it is found in the object and this is not called."""
        if owner is None:
            return self
        value = self._compute(owner)
        vars(owner)[self._name] = value
        return value
