"""The same tree in a context with another number of cells."""

from __future__ import annotations

import copy
import dataclasses

from ..checks import check_integer
from ..engine.compatibility import settings
from ..engine.context import Context
from ..engine.stored import check_room
from ..errors import ParameterError, SessionMismatchError
from .paths import Redo
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["copy_tree", "keeps_rows", "resized"]


def keeps_rows(context: Context, n_ctx: int) -> bool:
    """Return whether rows mean the same in a context with another number of cells.

    Parameters
    ----------
    context : Context
    n_ctx : int
    """
    here, there = (settings(context.model, context.params, n) for n in (context.n_ctx, n_ctx))
    return here == there


def resized(context: Context, n_ctx: int) -> Context:
    """Return an empty context like another one, with another number of cells.

    Raises
    ------
    ParameterError
        When the cells do not hold the tokens that there are, or do not fit into memory.
    SessionMismatchError
        When rows mean something else in a context of that size, as with LongRoPE.
    """
    n_ctx, n_tokens = check_integer("n_ctx", n_ctx, 1), context.token_count()
    if n_ctx < n_tokens:
        raise ParameterError(
            f"n_ctx={n_ctx:,} is less than the {n_tokens:,} tokens up to the head; give "
            f"{n_tokens:,} or more, or undo() first"
        )
    params = dataclasses.replace(context.params, n_ctx=n_ctx)
    check_room(context.model, params, n_tokens)
    if not keeps_rows(context, n_ctx):
        raise SessionMismatchError(
            f"rows of a context of {context.n_ctx:,} cells mean something else in one of "
            f"{n_ctx:,}, as {context.model.name!r} turns positions in another way there. Begin "
            "anew with Chat.from_messages(model, chat.messages, n_ctx=...)"
        )
    made = Context(context.model, params, adapters=context.adapters)
    made.known_adapters.offer(context.known_adapters.at_hand)
    return made


def copy_tree(workspace: Workspace[Checkpoint], source: Workspace[Checkpoint]) -> None:
    """Add all checkpoints of another tree with their rows, and stand where its head is.

    Parameters
    ----------
    workspace : Workspace
        Without checkpoints, of the same model and settings.
    source : Workspace
        Nobody changes it meanwhile.
    """
    graph, there = workspace.graph, source.graph
    made: dict[str, Checkpoint] = {}
    for node in (there.root, *there):
        n_made, n_cuts = there.counts(node)
        twin = made[node.id] = graph.restore(
            node.id,
            None if node.parent is None else made[node.parent.id],
            node.tokens,
            node.ordinal,
            copy.deepcopy(dict(node.metadata)),
            node.logprobs,
            made=n_made,
            cuts=n_cuts,
        )
        workspace.adapters.remember(twin.metadata.adapters)
        twin.rows_exact = node.rows_exact
        source.rows.pass_on(node, workspace.rows, twin)
    for name, node in there.tags.items():
        graph.tag(name, made[node.id])
    graph.n_made = there.n_made
    with workspace.operation():
        workspace.go(made[there.head.id])
        if source.adapters.are_chosen:
            workspace.set_adapters(source.adapters.on)
        graph.redo = Redo.of([made[node.id] for node in there.redo or ()])
