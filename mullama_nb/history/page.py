"""A chat as a page of its own: one file without a kernel, with a tree whose rows are links."""

from __future__ import annotations

import html
from collections.abc import Iterator

from ..size import size
from .conversation import Conversation
from .display import message_html
from .drawing import draw_fork, label, lines_before, speaker
from .layout import lay_out, segments, shared_tokens
from .shown import ShownMessage
from .tree import Checkpoint, CheckpointTree

__all__ = ["as_page"]

_KINDS = ("user", "assistant", "system", "tool")
_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --muted: #59636e; --paper: #fff; --line: #d1d9e0;
  --brand: #1565c0; --you: #eef4fb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --muted: #9aa4af; --paper: #14171b;
  --line: #3d444d; --brand: #79b8ff; --you: #1c2733; } }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); display: flex; flex-wrap: wrap; min-height: 100vh; }
body.presenting { font-size: 22px; }
nav { flex: 1 1 20em; padding: 1em; overflow-x: auto; border-right: 1px solid var(--line); }
main { flex: 2 1 24em; padding: 1em 1.5em; min-width: 0; max-width: 52em; }
h1 { font-size: 1.1em; margin: 0 0 .6em; }
nav a { display: block; white-space: pre; padding: 0 .4em; border-radius: 4px; color: var(--ink);
  text-decoration: none; font: .87em/1.9 ui-monospace, monospace; }
nav a:hover { text-decoration: underline; }
nav a:focus-visible { outline: 2px solid var(--brand); }
nav a[aria-current] { background: var(--you); color: var(--brand); font-weight: 600; }
nav span { color: var(--muted); font-weight: 400; }
nav svg { height: 1em; vertical-align: -.1em; color: var(--muted); }
article { margin: 0 0 1em; overflow-wrap: break-word; }
article.user { background: var(--you); border-radius: 8px; padding: .5em .8em; }
article[hidden] { display: none; }
article > strong { color: var(--muted); font-size: .87em; }
article p { margin: .2em 0; }
pre { white-space: pre-wrap; overflow-wrap: break-word; }
"""
# Every message names the one before it, so the way to a checkpoint is found in the page itself.
_SCRIPT = """
const rows = [...document.querySelectorAll("nav a")];
function show() {
  const name = decodeURIComponent(location.hash.slice(1));
  const row = rows.find((each) => each.dataset.name === name);
  if (!row) return;
  for (const each of rows) each.removeAttribute("aria-current");
  row.setAttribute("aria-current", "true");
  for (const each of document.querySelectorAll("article")) each.hidden = true;
  let at = row.dataset.message;
  while (at) {
    const message = document.getElementById(at);
    message.hidden = false;
    at = message.dataset.before;
  }
}
addEventListener("hashchange", show);
show();
"""


def as_page(tree: CheckpointTree, conversation: Conversation, *, presenting: bool) -> str:
    """Return a chat as HTML; every text is escaped, and nothing comes from elsewhere.

    Parameters
    ----------
    tree : CheckpointTree
    conversation : Conversation
    presenting : bool
        Whether it is for a room: large type, and no sizes.
    """
    messages, ends = _messages(tree, conversation)
    shown = _way(messages, ends.get(tree.head.id))
    title = html.escape(f"A conversation with {tree.context.model.name}")
    rows = "".join(_rows(tree, ends, presenting=presenting))
    articles = "".join(
        f'<article id="m{name}" class="{_kind(message.role)}" data-before="{_id(before)}"'
        f"{'' if name in shown else ' hidden'}><strong>{_speaker(message)}</strong>"
        f"{message_html(message, _typed)}</article>"
        for name, (before, message) in messages.items()
    )
    kind = ' class="presenting"' if presenting else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{title}</title><style>{_STYLE}</style></head>'
        f'<body{kind}><nav aria-label="Tree"><h1>{title}</h1>{rows}</nav>'
        f"<main>{articles}</main><script>{_SCRIPT}</script></body></html>\n"
    )


def _messages(
    tree: CheckpointTree, conversation: Conversation
) -> tuple[dict[str, tuple[str | None, ShownMessage]], dict[str, str]]:
    """All messages after the one before, and for each checkpoint the message that it ends in."""
    found: dict[str, tuple[str | None, ShownMessage]] = {}
    ends: dict[str, str] = {}
    for checkpoint in tree:
        before = None
        for line in conversation.lines_at(checkpoint):
            name = line.end.id if line.index is None else f"{line.end.id}.{line.index}"
            found.setdefault(name, (before, ShownMessage.of(line.message)))
            before = name
        if before is not None:
            ends[checkpoint.id] = before
    return found, ends


def _way(messages: dict[str, tuple[str | None, ShownMessage]], end: str | None) -> set[str]:
    way: set[str] = set()
    while end is not None:
        way.add(end)
        end = messages[end][0]
    return way


def _rows(tree: CheckpointTree, ends: dict[str, str], *, presenting: bool) -> Iterator[str]:
    for row in lay_out(tree):
        checkpoint = row.checkpoint
        parts = segments(checkpoint)
        is_head = tree.head in parts
        dot = f"{lines_before(row)}{'●' if is_head else '○'} "
        words = "root" if checkpoint.is_root else _words(checkpoint)
        n_shared = shared_tokens(checkpoint)
        fork = draw_fork(n_shared) if n_shared else ""
        current = ' aria-current="true"' if is_head else ""
        figures = ""
        if not (presenting or checkpoint.is_root):
            n, n_bytes = sum(len(part.tokens) for part in parts), sum(p.n_bytes for p in parts)
            figures = f" <span>{n} tokens, {size(n_bytes)}</span>"
        yield (
            f'<a href="#{checkpoint.id or "root"}" data-name="{checkpoint.id or "root"}" '
            f'data-message="{_id(ends.get(checkpoint.id))}"{current}>'
            f"{dot}{fork}{html.escape(words)}{figures}</a>"
        )


def _words(checkpoint: Checkpoint) -> str:
    tags = " ".join(f"[{tag}]" for part in segments(checkpoint) for tag in part.tags)
    role = speaker(checkpoint.metadata.role)
    return " ".join(filter(None, (role, label(checkpoint, 40), tags)))


def _id(name: str | None) -> str:
    return "" if name is None else f"m{name}"


def _kind(role: str) -> str:
    return role if role in _KINDS else "other"


def _speaker(message: ShownMessage) -> str:
    return html.escape(speaker(message.role))


def _typed(text: str) -> str:
    return f'<p style="white-space:pre-wrap">{html.escape(text)}</p>'
