"""Tab inside of strings: names of models, sessions and checkpoints where a call takes them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from IPython.core.completer import SimpleCompletion, context_matcher

from .engine.files.locate import known_models
from .engine.model import Model
from .history.chat import Chat
from .history.tree import CheckpointTree
from .sessions.folder import SessionFolder
from .sessions.store import SessionStore

__all__ = ["complete_names_in"]

# A call whose first argument is a string that is being typed.
_CALL = re.compile(
    r"(?P<path>[^\W\d]\w*(?:\.[^\W\d]\w*)*)\(\s*(?P<quote>['\"])(?P<typed>[^'\"\n]*)\Z"
)

_OF_CHAT = ("alternatives", "checkout", "fork", "regenerate")
_OF_TREE = (
    *("checkout", "children", "diff", "fork", "log", "path", "prune", "segment", "siblings"),
    *("spill", "tokens", "visit"),
)
_OF_SESSIONS = ("delete", "info", "load", "load_session", "restore", "versions")


def complete_names_in(shell: Any) -> None:
    """Offer names in a shell from now on; once is enough.

    Parameters
    ----------
    shell : InteractiveShell
    """
    if any(getattr(each, "is_of_mullama_nb", False) for each in shell.Completer.custom_matchers):
        return

    @context_matcher()  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
    def names_in_strings(context: Any) -> dict[str, Any]:
        lines = context.full_text.split("\n")[: context.cursor_line]
        call = _CALL.search("\n".join([*lines, context.text_until_cursor]))
        if call is None:
            return {"completions": []}
        typed = call["typed"]
        names = _names(shell.user_ns, call["path"].split("."))
        found = [SimpleCompletion(name) for name in names if name.startswith(typed)]
        # Nothing else belongs there: no file, and no word of the notebook.
        return {"completions": found, "matched_fragment": typed, "suppress": bool(found)}

    names_in_strings.is_of_mullama_nb = True
    shell.Completer.custom_matchers.append(names_in_strings)


def _names(variables: dict[str, Any], path: list[str]) -> Iterable[str]:
    """The names that a call takes; nothing of the user's is run to find out."""
    *owners, last = path
    if not owners:
        return known_models() if variables.get(last) is Chat else ()
    owner = variables.get(owners[0])
    for attribute in owners[1:]:
        if attribute == "tree" and isinstance(owner, Chat):
            owner = owner.tree
        elif inspect.ismodule(owner):
            owner = _in_module(owner, attribute)
        else:
            return ()
    if inspect.ismodule(owner):
        return known_models() if _in_module(owner, last) is Chat else ()
    for fits, methods, names in _takers(owner):
        if fits and last in methods:
            return names()
    return ()


def _in_module(module: ModuleType, name: str) -> Any:
    # The package's names are there once they are asked for; other modules may run anything.
    is_ours = module.__name__ == __package__
    return getattr(module, name, None) if is_ours else vars(module).get(name)


def _takers(owner: Any) -> Iterable[tuple[bool, tuple[str, ...], Callable[[], Iterable[str]]]]:
    yield owner is Model, ("load",), known_models
    yield owner is Chat, ("open", "open_or_create"), _saved_chats
    yield isinstance(owner, Chat), ("autosave", "save"), _saved_chats
    yield (
        isinstance(owner, Chat),
        _OF_CHAT,
        lambda: owner.tree._ipython_key_completions_(),
    )
    is_tree = isinstance(owner, CheckpointTree)
    yield is_tree, _OF_TREE, lambda: owner._ipython_key_completions_()
    yield is_tree, ("untag",), lambda: owner.tags
    yield isinstance(owner, SessionFolder), _OF_SESSIONS, lambda: owner


def _saved_chats() -> Iterable[str]:
    return [entry.name for entry in SessionStore(None).entries() if entry.kind == "chat"]
