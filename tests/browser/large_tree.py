"""A conversation tree of any size, as a user's would look: runs in the kernel, or anywhere."""

from __future__ import annotations

import random

from mullama_nb import Chat

__all__ = ["grow"]

_QUESTIONS = (
    "What is a tide?",
    "Who was the first to cross this ocean alone?",
    "Can you say that in simpler words?",
    "Write one line of Python that adds up a list.",
    "Why is the sea salty?",
)
_ANSWERS = (
    "The sea rises and falls with the moon.",
    "Nobody knows for sure, but many stories tell of it.",
    "In short: it depends on where you stand.",
    "`sum(numbers)` adds them up.",
    "Rivers carry salt from the rocks into it.",
)
_EVERY = 6  # turns to a branch


def grow(chat: Chat, n_checkpoints: int) -> None:
    """Say things that nobody has to think about, on many branches, and end on a long path."""
    tree, context = chat.tree, chat.context
    draw = random.Random(1)
    ends = [tree.head]
    while len(tree) < n_checkpoints:
        if len(ends) % _EVERY == 0:
            tree.checkout(draw.choice(ends[-40:]))
        if context.n_ctx - context.token_count() < 100:
            tree.checkout(draw.choice([end for end in ends if end.stop < context.n_ctx // 2]))
        for role, texts in (("user", _QUESTIONS), ("assistant", _ANSWERS)):
            if len(tree) < n_checkpoints:
                context.evaluate(draw.choice(texts))
                tree.commit(role=role, finish_reason="stop")
        ends.append(tree.head)
