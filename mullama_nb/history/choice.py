"""How the tokens of a message were chosen."""

from __future__ import annotations

from ..engine.answers.chooser import Chooser
from ..engine.completion import Limits
from ..engine.request import seeded
from ..engine.sampling.choice import Choice
from ..engine.sampling.steps import choice_given, choice_made
from .carrying import carried, notes_back
from .chosen_from import first_of_generation, logits_in_front
from .message import token_place, tokens_said
from .options import recalled
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["choice"]


def choice(workspace: Workspace[Checkpoint], end: Checkpoint, token: int) -> Choice:
    """Return how a token of a message was chosen; see ``Turn.choice``.

    Parameters
    ----------
    workspace : Workspace
    end : Checkpoint
        Where the message ends.
    token : int
        Index of a token in the message; -1 is the last.
    """
    part, index = token_place(end, token)
    chosen, position = part.tokens[index], part.start + index
    logits = logits_in_front(workspace, part, index) if position else None
    vocabulary = workspace.context.model.vocabulary
    if not part.metadata.is_generated or part.metadata.taken_from or logits is None:
        return choice_given(vocabulary, logits, position, chosen, _giver(part))
    notes, first = part.metadata, first_of_generation(part)
    assert first.parent is not None
    sampling = seeded(recalled(notes.sampling))
    tokens = [t for node in [*part.lineage()][::-1] for t in node.tokens][:position]
    states = notes.sampler_states[: max(0, len(notes.sampler_states) - len(part.tokens) + index)]
    assert part.parent is not None
    state = carried(notes_back(part.parent), sampling, states)
    n_own = position - first.start
    answer_format = workspace.readings.format_of(notes.call_grammar)
    n_said = tokens_said(first.parent) + n_own

    def choosers(sibling: int) -> Chooser:
        return Chooser(
            *(vocabulary, sampling, sibling, Limits(**notes.limits), tokens),
            *(workspace.context.n_ctx, state, answer_format, n_said, n_own),
        )

    return choice_made(
        *(vocabulary, sampling, choosers, notes.sibling, logits, position, chosen),
        doubt=_doubt(part),
    )


def _giver(part: Checkpoint) -> str:
    """Who gave tokens that were not generated here, in words."""
    notes = part.metadata
    if notes.taken_from is not None:
        return f"the answer was taken over from checkpoint {notes.taken_from[:7]}, which says how"
    if notes.is_answer:
        if notes.edited:
            return "it was written in place of the answer"
        if notes.message is None and notes.was_cut_short:
            return "it was chosen by hand, where the answer was forked"
        return "the answer was given, or begun, with this text"
    if notes.source == "session":
        return "it comes from a session file"
    if notes.source is not None or notes.role is None:
        return "it was evaluated directly on the context"
    return f"it is in a message of the {notes.role}, or in the template around it"


def _doubt(part: Checkpoint) -> str:
    """Why logits that are looked up may differ from those that a token was drawn from."""
    explored = part.metadata.explored
    if part.metadata.decoded_elsewhere:
        why = part.metadata.elsewhere_in_words
        return f"it was decoded elsewhere ({why}), and evaluated again here"
    if explored:
        return (
            f"{explored['n']} answers were decoded together, which changes last bits; "
            "explore(exact=True) does not"
        )
    if not part.is_exact:
        return "rows were dropped for lack of room and evaluated again"
    return "it was drawn from others, on another machine or at another place"
