"""Advice in the words of the terminal: errors name Python's calls, which nobody can type there.

Messages are written once, for Python. Here what they name becomes a slash command of a conversation
or an option of the running command. ``tests/cli/test_wording.py`` reads every message of the package
that may reach a terminal, and fails where one is left that only Python understands.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import click

__all__ = ["Voice", "reworded"]

Voice: TypeAlias = Literal["command", "shell"]

# A pattern, and what stands for it in a conversation, and where there is none. In their order.
_PHRASES: tuple[tuple[str, str, str], ...] = (
    (
        r"trim\(\) drops the oldest turns; or make the chat with a larger",
        "/trim drops the oldest turns; or begin again with a larger",
        "Give a larger",
    ),
    (r"make a chat with a larger", "begin again with a larger", "give a larger"),
    (r"(a smaller kv_cache_type) such as \"(\w+)\"", r"\1 such as \2", r"\1 such as \2"),
    (r"make one with n_ctx=([\d,]+) or more", r"it needs \1 or more", r"it needs \1 or more"),
    (r"[Uu]se rope_scaling='yarn', or fewer", "Begin again with fewer", "Give fewer"),
    (r": pass flash_attention=True, or f16 for V", ": use f16", ": use f16"),
    (r"ask\(\) something", "ask something", "ask something"),
    (r"regenerate\(\)", "/regenerate", "ask it again"),
    (r"resume\(\) answers it, undo\(\) takes", "/resume answers it, /undo takes", "nothing takes"),
    (r"edit\(\) replaces it", "/edit replaces it", "ask something"),
    (r"Use generate\(\) with text, give", "Give", "Give"),
    (r"with chat_template=", "with chat_template", "with chat_template"),
    (
        r"give (?:its|the) file as adapters=\[\.\.\.\]"
        r"|give the file, such as adapters=\[LoRA\('style\.gguf'\)\]",
        *["give its file with --lora or --control-vector"] * 2,
    ),
    (r"; give force=True(?: to move it)?", *["; give another name"] * 2),
    (r"adapters=", *["the adapters "] * 2),
    (r": open it with that model, Chat\.open\(.*\)", *[": give its file with --model"] * 2),
    (
        r"(?:Chat\.open|SessionManager\.load)\((?P<name>'.*?')\) goes on with it",
        r"/open \g<name> goes on with it",
        r"mullama-nb session load \g<name> goes on with it",
    ),
    (
        r": load it with SessionManager\.load\(\)",
        *[": mullama-nb session load goes on with it"] * 2,
    ),
    (r"load it with on_mismatch=\"replay\"", *["Python's SessionManager does that"] * 2),
    (r"evaluate it again here: on_mismatch=\"replay\"", *["evaluate its text again"] * 2),
    (r"keep it with save_session\(\)", *["keep it with --save-session"] * 2),
    (r"; merge=True brings both", *["; in a conversation, /save NAME merge brings both"] * 2),
    (r"[Ee]nd that (?:one|chat)'s autosave first: chat\.autosave\(None\)", *["End that one first"] * 2),
    (r"end that one's autosave, or give take_over=True", *["end that one, or give --take-over"] * 2),
    (r"(?:chat that is open .*?)chat\.save\(.*?, merge=True\)", *["/save NAME merge"] * 2),
    (r"replace=True", "/save NAME replace", "--replace"),
    (r"\brestore\(\)", *["mullama-nb session restore"] * 2),
    (r": SessionManager\(model, folder\)", *[": give it as --folder"] * 2),
    (r", SessionManager\.add\(path, .*?\)", *[" with mullama-nb session add"] * 2),
    (r"logits_at\(\)", *["Python's logits_at"] * 2),
)


def reworded(message: str, voice: Voice) -> str:
    """Return a message of the package as it is said at the terminal.

    Parameters
    ----------
    message : str
    voice : {"command", "shell"}
        Whether slash commands can be typed now.
    """
    for pattern, in_shell, in_command in _PHRASES:
        message = re.sub(pattern, in_shell if voice == "shell" else in_command, message)
    running = click.get_current_context(silent=True)
    for option in running.command.params if running is not None else ():
        if isinstance(option, click.Option) and option.name is not None:
            message = re.sub(rf"\b{option.name}=", f"{option.opts[-1]} ", message)
            if "_" in option.name:
                message = re.sub(rf"\b{option.name}\b", option.opts[-1], message)
    return message
