"""A progress bar with the time left, where a terminal or a notebook shows it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from .errors import ParameterError

__all__ = ["Advance", "Progress", "check_progress", "tracked"]

Progress = bool | Callable[[int, int], object] | None

_VIEW = "application/vnd.jupyter.widget-view+json"


class Advance(Protocol):
    """Say that units were done since, and what a bar shows beside the time left."""

    def __call__(self, n: int, note: str = "") -> object:
        """Count ``n`` more."""


def check_progress(progress: Progress) -> None:
    """Check the argument ``progress`` of a function that takes long.

    Raises
    ------
    ParameterError
        When it is neither None, True, False nor callable.
    """
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise ParameterError(
            f"progress={progress!r} must be True, False, None for a bar where a terminal or a "
            "notebook shows it, or a function of what is done and the total"
        )


@contextmanager
def tracked(
    progress: Progress, total: int, what: str, unit: str, *, is_bytes: bool = False, done: int = 0
) -> Iterator[Advance]:
    """Show how far something is.

    In a notebook the bar goes when it is done, and leaves no output that would be compared.

    Parameters
    ----------
    progress : bool or callable, optional
        A bar, or none; None for a bar where a terminal or a notebook shows it. A function is called
        with what is done and the total, from ``done`` on.
    total : int
    what, unit : str
        As they are shown, such as ``"cases"`` and ``"case"``.
    is_bytes : bool
        Whether units are bytes, shown as kB or MB.
    done : int
        What need not be done any more. The time left follows from the rest.

    Yields
    ------
    Advance
    """
    check_progress(progress)
    if callable(progress):
        report = progress
        report(done, total)

        def tell(n: int, note: str = "") -> None:  # noqa: ARG001 - a function is told numbers
            nonlocal done
            done += n
            report(done, total)

        yield tell
    elif progress or (progress is None and _is_shown()):
        options = {"total": total, "initial": done, "desc": what, "unit": unit}
        with _bar(options | {"unit_scale": is_bytes}) as bar:

            def show(n: int, note: str = "") -> None:
                bar.set_postfix_str(note, refresh=False)
                bar.update(n)

            yield show
    else:
        yield lambda n, note="": None  # noqa: ARG005


@contextmanager
def _bar(options: dict[str, Any]) -> Iterator[Any]:
    """Show a bar of tqdm, which takes a while to import."""
    if not _is_kernel():
        from tqdm.auto import tqdm

        with tqdm(**options) as bar:
            yield bar
        return
    from IPython.display import display
    from tqdm.notebook import tqdm as notebook_tqdm

    bar = notebook_tqdm(**options, leave=False, display=False)
    view = {"version_major": 2, "version_minor": 0}
    # With a text beside it, nbval would compare it.
    shown = display({_VIEW: view | {"model_id": bar.container.model_id}}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
    try:
        yield bar
    finally:
        bar.close()
        for widget in (*bar.container.children, bar.container):
            for part in (widget.layout, getattr(widget, "style", None), widget):
                if part is not None:
                    part.close()
        # JupyterLab shows nothing of a view without a model, and an error of one that is gone.
        shown.update({_VIEW: view | {"model_id": ""}}, raw=True)


def _is_shown() -> bool:
    return sys.stderr.isatty() or _is_kernel()


def _is_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return "IPKernelApp" in (getattr(shell, "config", None) or ())
