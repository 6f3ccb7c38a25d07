"""From turns and checkpoints one gets back to their chat and tree, with types; only checked."""

from __future__ import annotations

from typing_extensions import assert_type

from mullama_nb import Chat, Checkpoint, CheckpointTree, Turn


def turns(chat: Chat, turn: Turn) -> None:
    assert_type(turn.chat, Chat)
    assert_type(turn.chat.ask("x"), Turn)
    assert_type(turn.checkpoint, Checkpoint)
    assert_type(chat.tree, CheckpointTree)
    turn.chat.aks("x")  # type: ignore[attr-defined]


def checkpoints(checkpoint: Checkpoint) -> None:
    assert_type(checkpoint.tree, CheckpointTree)
    assert_type(checkpoint.tree.checkout("HEAD~1"), Checkpoint)
    assert_type(checkpoint.parent, Checkpoint | None)
    assert_type(checkpoint.children, tuple[Checkpoint, ...])
    assert_type(checkpoint.metadata.role, str | None)
    assert_type(checkpoint.metadata.continues, bool)
    checkpoint.tree.chekout("HEAD")  # type: ignore[attr-defined]
    checkpoint.metadata.rolle  # type: ignore[attr-defined] # noqa: B018


def trees(tree: CheckpointTree) -> None:
    assert_type(tree.head, Checkpoint)
    assert_type(tree["HEAD"], Checkpoint)
    assert_type([*tree.tags.values(), *tree], list[Checkpoint])
    with tree.visit("ROOT") as there:
        assert_type(there, Checkpoint)
