"""Who makes explored answers: this process, or the workers of an executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..engine.completion import Token
from .exploring import Explores, Exploring, Setting
from .tree import Checkpoint
from .workspace import Workspace

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["begin_exploring"]


def begin_exploring(
    workspace: Workspace[Checkpoint],
    settings: Sequence[Setting],
    on_token: Callable[[int, Token], object] | None,
    executor: Executor | None,
    *,
    exact: bool,
) -> Explores:
    """Return what makes answers here, or has the workers of an executor make them.

    Parameters
    ----------
    workspace : Workspace
    settings : sequence of Setting
    on_token : callable, optional
    executor : Executor, optional
    exact : bool
        As for ``Chat.explore``.
    """
    if executor is None:
        return Exploring(workspace, settings, on_token, exact=exact)
    # Imported here, as most chats need nothing of processes.
    from .exploring_elsewhere import ExploringElsewhere

    return ExploringElsewhere(workspace, settings, on_token, executor, exact=exact)
