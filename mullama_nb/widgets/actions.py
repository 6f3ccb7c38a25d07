"""Actions that a view may request: a widget's ``do_`` methods, with arguments of declared types."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from ..errors import ParameterError

__all__ = ["call_action", "ends_generation", "keeps_error", "leaves_error", "stops_first"]

_PREFIX = "do_"
_Method = TypeVar("_Method", bound=Callable[..., None])


def stops_first(method: _Method) -> _Method:
    """Mark an action that stops the running answer before it starts, as undo does.

    Parameters
    ----------
    method : function
        A ``do_`` method of a widget.
    """
    method.stops_first = True  # type: ignore[attr-defined]
    return method


def ends_generation(widget: Any, action: str) -> bool:
    """Return whether an action of a widget stops generation first."""
    return getattr(_actions(type(widget)).get(action), "stops_first", False)


def leaves_error(method: _Method) -> _Method:
    """Mark an action that a view takes by itself: the error of the last one stays.

    Parameters
    ----------
    method : function
        A ``do_`` method of a widget.
    """
    method.leaves_error = True  # type: ignore[attr-defined]
    return method


def keeps_error(widget: Any, action: str) -> bool:
    """Return whether the error of the last action stays when an action of a widget succeeds."""
    return getattr(_actions(type(widget)).get(action), "leaves_error", False)


def call_action(widget: Any, action: str, arguments: Mapping[str, Any]) -> None:
    """Call the method ``do_<action>`` of a widget.

    Parameters
    ----------
    widget : object
    action : str
    arguments : mapping
        By name, as sent by a page; not trusted.

    Raises
    ------
    ParameterError
        When there is no such action, or an argument is unknown, missing or not of the declared
        type.
    """
    actions = _actions(type(widget))
    kind = type(widget).__name__
    if action not in actions:
        names = ", ".join(actions) or "none"
        raise ParameterError(f"{kind} knows no action {action!r}; its actions: {names}")
    method = actions[action]
    types = _parameter_types(method)
    needed = {name for name, (_, is_needed) in types.items() if is_needed}
    if missing := needed - arguments.keys():
        raise ParameterError(f"{kind}: {action!r} needs {', '.join(sorted(missing))}")
    if unknown := arguments.keys() - types.keys():
        raise ParameterError(f"{kind}: {action!r} does not take {', '.join(sorted(unknown))}")
    for name, value in arguments.items():
        expected, _ = types[name]
        if type(value) not in expected:  # exactly: True is not a number here
            words = " or ".join(each.__name__ for each in expected if each is not NoneType)
            raise ParameterError(f"{kind}: {action!r} takes {name} as {words}, not {value!r:.80}")
    method(widget, **arguments)


def _actions(kind: type) -> dict[str, Callable[..., None]]:
    names = sorted(name for name in dir(kind) if name.startswith(_PREFIX))
    return {name.removeprefix(_PREFIX): getattr(kind, name) for name in names}


def _parameter_types(method: Callable[..., None]) -> dict[str, tuple[tuple[type, ...], bool]]:
    """The types that each parameter takes, and whether it has to be given."""
    hints = get_type_hints(method)
    _, *parameters = inspect.signature(method).parameters.values()  # the first is the widget
    return {
        each.name: (get_args(hints[each.name]) or (hints[each.name],), each.default is each.empty)
        for each in parameters
    }
