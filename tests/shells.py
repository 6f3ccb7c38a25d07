"""Shells of IPython for tests: each with its files in a folder, and ended with all it holds."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

__all__ = ["open_shell"]


@contextmanager
def open_shell(folder: Path, *, is_the_one: bool = False) -> Iterator[InteractiveShell]:
    """A shell; ``__main__``, whose place it takes, is put back afterwards.

    Parameters
    ----------
    folder : Path
        Gets what IPython and saved chats write.
    is_the_one : bool
        Whether ``IPython.get_ipython()`` finds it, as in a notebook.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        patch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        made = InteractiveShell.instance(colors="nocolor") if is_the_one else InteractiveShell()
        try:
            yield made
        finally:
            made.user_ns.clear()
            atexit.unregister(made.atexit_operations)
            made.atexit_operations()
            if is_the_one:
                InteractiveShell.clear_instance()
