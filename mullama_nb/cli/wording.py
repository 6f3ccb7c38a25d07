"""Advice in the words of the terminal: errors name Python's calls, which nobody can type there.

Messages are written once, for Python. Here what they name becomes a slash command of a conversation
or an option of the running command. ``tests/cli/test_wording.py`` reads every message that may
reach a terminal, and fails where one is left that only Python understands.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import click

__all__ = ["Voice", "reworded"]

Voice: TypeAlias = Literal["command", "shell"]

# Patterns, and what stands for them: for both voices, and then by voice.
_EVERYWHERE: tuple[tuple[str, str], ...] = (
    (r"as branches: chat\.save\(.*?, .*?\)", "as branches: /save NAME merge, where it is open"),
    (r"with chat\.save\(.*?, .*?\)", "with /save NAME merge"),
    (r"(a smaller kv_cache_type) such as \"(\w+)\"", r"\1 such as \2"),
    (r"Use rope_scaling='yarn', or fewer", "Use fewer"),
    (r": pass flash_attention=True, or f16 for V", ": use f16"),
    (r"Begin anew with Chat\.from_messages\(.*?\)", "Begin anew with --n-ctx"),
    (r"ask\(\) something", "ask something"),
    (r"\b(token|keep)=(?=\S)", r"\1 "),
    (r"\bchoose=(?=\S)", ""),
    (r"Use generate\(\) with text, give", "Give"),
    (r"with chat_template=", "with chat_template"),
    (
        r"give (?:its|the) file(?:, such)? as adapters=\[.*\]",
        "give its file: --lora FILE or --control-vector FILE",
    ),
    (r"; give force=True(?: to move it)?", "; give another name"),
    (r"with adapters=", "with the adapters "),
    (r": open it with that model, Chat\.open\(.*\)", ": give its file: --model FILE"),
    (r": load it with SessionManager\.load\(\)", ": mullama-nb session load opens it"),
    (r"load it with on_mismatch=\"replay\"", "Python's SessionManager.load does so"),
    (r"evaluate it again here: on_mismatch=\"replay\"", "evaluate its text again"),
    (r"keep it with save_session\(\)", "keep it in a file: --save-session FILE"),
    (r"([Ee]nd) that (?:one|chat)'s autosave first: chat\.autosave\(None\)", r"\1 that chat first"),
    (r"ask something first, then edit\(\) the system .* again", "begin again without --system"),
    (r"\brestore\(\)", "mullama-nb session restore"),
    (r": SessionManager\(model, folder\)", ": give it as --folder"),
    (r", SessionManager\.add\(path, .*?\)", " with mullama-nb session add"),
)
_BY_VOICE: dict[Voice, tuple[tuple[str, str], ...]] = {
    "shell": (
        (
            r"trim\(\) drops the oldest turns; or make the chat with a larger n_ctx, .* memory",
            "/trim drops the oldest turns, and /n-ctx CELLS goes on in a larger context",
        ),
        (r"(?:make the|make a) chat with a larger n_ctx", "go on with more cells: /n-ctx CELLS"),
        (r"make one with n_ctx=", "begin with --n-ctx "),
        (r"(?:use|Use) a larger n_ctx", "go on with more cells: /n-ctx CELLS"),
        (r"regenerate\(\)", "/regenerate"),
        (r"resume\(\)", "/resume"),
        (r"undo\(\)", "/undo"),
        (r"edit\(\)", "/edit"),
        (
            r"(?:Chat\.open|SessionManager\.load)\((.*?)\) goes on with it",
            r"/open \1 goes on with it",
        ),
        (r", end that one's autosave, or give take_over=True", ", or end that one"),
        (r"replace=True", "/save NAME replace"),
        (r"merge=True", "/save NAME merge"),
    ),
    "command": (
        (r"trim\(\) drops the oldest turns; or make the chat with", "Use"),
        (r"make (?:a chat|one) with a? ?(?=larger|n_ctx)", "use "),
        (r", or undo\(\) first", ""),
        (r"regenerate\(\)", "ask again"),
        (
            r"(?:resume\(\)|edit\(\)) (?:answers|replaces) it(?:, undo\(\) takes it back)?",
            "ask anew",
        ),
        (
            r"(?:Chat\.open|SessionManager\.load)\((.*?)\) goes on",
            r"mullama-nb session load \1 goes on",
        ),
        (r"end that one's autosave, or give take_over=True", "end that one, or give --take-over"),
        (r"replace=True", "--replace"),
        (r"merge=True", "in a conversation, /save NAME merge"),
    ),
}


def reworded(message: str, voice: Voice) -> str:
    """Return a message of the package as it is said at the terminal.

    Parameters
    ----------
    message : str
    voice : {"command", "shell"}
        Whether slash commands can be typed now.
    """
    for pattern, words in (*_EVERYWHERE, *_BY_VOICE[voice]):
        message = re.sub(pattern, words, message)
    running = click.get_current_context(silent=True)
    for option in running.command.params if running is not None else ():
        if isinstance(option, click.Option) and option.name is not None:
            message = re.sub(rf"(?<![\w.]){option.name}=", f"{option.opts[-1]} ", message)
            if "_" in option.name:
                message = re.sub(rf"(?<![\w.]){option.name}\b", option.opts[-1], message)
    return message
