"""From a context to a store's segments and back: split at shared prefixes, joined and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..engine.adapters.loaded import text_of
from ..engine.compatibility import ADAPTER_RUNS, ADAPTERS, refusals
from ..engine.context import Context
from ..engine.prompt import plan_prompt
from ..errors import (
    MullamaError,
    SessionError,
    SessionFormatError,
    SessionMismatchError,
    shown,
)
from ..state.file import SessionFile
from ..state.finite import is_finite
from ..state.layout import LayoutError, SequenceState, Structure, join
from ..state.segment import Segment
from .records import family
from .store import SessionStore
from .versions import Place

__all__ = [
    "check_prompt",
    "check_rows",
    "check_settings",
    "replay_session",
    "resume",
    "resume_session",
    "reuse",
    "segments_of",
]

_LEAST_WORTH_SHARING = 32  # tokens; each segment is a file
_SHOWN = 60


def check_settings(metadata: Any, context: Context, name: str) -> None:
    """Check that a session was made with this context's weights and settings.

    Raises
    ------
    SessionMismatchError
        When it was not.
    """
    refused = refusals(metadata, context.session_metadata, context.known_adapters)
    if refused:
        raise SessionMismatchError(
            f"{shown(repr(name))} was saved from {shown(repr(metadata['model']))} and does not fit "
            f"this context of {context.model.name!r}. They differ in {'; '.join(refused)}. Load it "
            'with the same model and settings, or evaluate it again here: on_mismatch="replay"'
        )


def check_rows(segment: Segment, context: Context) -> Segment:
    """Check that a segment's rows are what this context's memory holds for its tokens.

    Raises
    ------
    SessionFormatError
        When they are not; llama.cpp must not see them.
    """
    structure, shape = context.layout
    try:
        state = SequenceState(segment.data, structure)
        problem = state.shape.disagreement(shape)
        if segment.settings != context.settings_digest:
            problem = "it belongs to other settings"
        if problem is None and not segment.whole:
            state.check_positions(segment.start, segment.stop, 0)
        if problem is None and not is_finite(state):
            problem = "it holds numbers that are not finite"
    except LayoutError as error:
        problem = str(error)
    if problem is not None:
        raise SessionFormatError(f"the segment {segment.address} is damaged: {problem}")
    return segment


def segments_of(context: Context, store: SessionStore) -> list[Segment]:
    """Return the rows of a context, split where stored segments of the same tokens end.

    If the rows are equal, too, so are the segments' addresses, and they are stored once.
    """
    rest = context.capture()
    if rest.whole:
        return [rest]
    structure, _ = context.layout
    if not SequenceState(rest.data, structure).covers(0, rest.stop):
        raise SessionError(
            "this context was loaded with the last rows of a sliding window only, which belong to "
            "no segment; keep it with save_session()"
        )
    pieces = []
    for _, n in store.prefix(family(context.session_metadata), rest.tokens):
        if n < min(_LEAST_WORTH_SHARING, len(rest.tokens)):
            break
        if n == len(rest.tokens):
            break
        first, rest = rest.split(n, structure)
        pieces.append(first)
    return [*pieces, rest]


def resume(
    context: Context, segments: Sequence[Segment], metadata: dict[str, Any], name: str
) -> None:
    """Restore a context from segments, with all checks of a session file.

    Raises
    ------
    SessionFormatError, SessionMismatchError
        The context is unchanged.
    """
    structure, _ = context.layout
    problem = _chain_problem(segments)
    if problem is not None or not segments:
        raise SessionFormatError(f"{name} is damaged: {problem or 'it has no rows'}")
    tokens = tuple(token for segment in segments for token in segment.tokens)
    if ADAPTER_RUNS not in metadata and ADAPTERS in metadata["settings"]:  # a chat's
        metadata = _of_path(metadata, segments)
    try:
        data = _joined(segments, structure)
    except LayoutError as error:
        raise SessionFormatError(
            f"{name} does not hold rows that this context could take: {error}"
        ) from None
    context.take_session(SessionFile(tokens, data, metadata, segments[-1].logits), name)


def _of_path(metadata: dict[str, Any], segments: Sequence[Segment]) -> dict[str, Any]:
    """The metadata of a chat's record, which names all adapters of the tree, for one path."""
    runs: dict[int, str] = {}
    for segment in segments:
        runs[segment.start] = ""
        runs |= segment.adapters
    used = {text_of([note]): note for note in metadata["settings"][ADAPTERS]}
    texts = "".join(runs.values())
    notes = [note for text, note in used.items() if text[1:-1] in texts]
    settings = {k: v for k, v in metadata["settings"].items() if k != ADAPTERS}
    settings |= {ADAPTERS: notes} if notes else {}
    return {**metadata, "settings": settings, ADAPTER_RUNS: [[*run] for run in runs.items()]}


def _joined(segments: Sequence[Segment], structure: Structure) -> Any:
    if len(segments) == 1:
        return segments[0].data
    return join([SequenceState(segment.data, structure) for segment in segments])


def reuse(context: Context, store: SessionStore, tokens: Sequence[int]) -> int:
    """Load the longest stored prefix of some tokens into an empty context.

    Returns
    -------
    int
        Number of tokens that need not be evaluated.
    """
    metadata = context.session_metadata
    structure, _ = context.layout
    segments: list[Segment] = []
    try:
        for address, n in store.prefix(family(metadata), tokens):
            segment = store.segment(address)
            if n < len(segment.tokens):
                segment, _ = segment.split(n, structure)
            segments.append(segment)
        wanted = [token for segment in segments for token in segment.tokens]
        is_ours = wanted == list(tokens[: len(wanted)])
        if not segments or not is_ours or any(s.settings != segments[0].settings for s in segments):
            return 0
        if segments[0].settings != context.settings_digest:
            return 0
        on = context.known_adapters.load(context.adapters).text
        if any(s.adapters != (((s.start, on),) if on else ()) for s in segments):
            return 0
        resume(context, segments, metadata, "the stored beginning")
    except (MullamaError, LayoutError, ValueError):
        context.clear()  # damaged or gone: evaluating is always right
        return 0
    return len(wanted)


def resume_session(context: Context, store: SessionStore, name: str) -> Place:
    """Restore a session into an empty context.

    Returns
    -------
    Place
        The version that was read.

    Raises
    ------
    SessionFormatError, SessionMismatchError
        The context is unchanged.
    """
    check_settings(store.record(name).metadata, context, name)
    place, record, body, segments = store.open_whole(name)
    tokens = body["tokens"]
    if segments and segments[-1].whole:  # of a chat: the state of all tokens, kept with the last
        segments = [replace(segments[-1], start=0, tokens=tuple(tokens))]
    resume(context, segments, dict(record.metadata), repr(name))
    if list(context.tokens) != tokens:
        raise SessionFormatError(
            f"the session {shown(repr(name))} is damaged: its rows are of other text"
        )
    return place


def replay_session(context: Context, store: SessionStore, name: str) -> None:
    """Evaluate a session's tokens in an empty context or, with another model, its text."""
    _, record, body = store.open_session(name)
    here, there = context.session_metadata["settings"], record.metadata["settings"]
    if here["fingerprint"] == there["fingerprint"]:
        tokens, runs = body["tokens"], record.metadata.get(ADAPTER_RUNS, [])
        begins = [*(first for first, _ in runs), len(tokens)]
        if context.known_adapters.missing(there.get(ADAPTERS, [])):
            runs, begins = [], [len(tokens)]
        context.evaluate(tokens[: begins[0]])
        for (first, text), end in zip(runs, begins[1:], strict=True):
            context.adapters = context.known_adapters.saved(text).values
            context.evaluate(tokens[first:end])
    else:
        context.evaluate(str(body["text"]))


def check_prompt(context: Context, prompt: str, name: str) -> None:
    """Check that a session begins with a prompt.

    Raises
    ------
    SessionMismatchError
        When it does not.
    """
    wanted = plan_prompt(context.model, (), prompt, None, special=True).tokens
    if context.tokens[: len(wanted)] == tuple(wanted):
        return
    held, text = context.text(), context.model.detokenize(wanted, special=True)
    if not held.startswith(text):  # the same text may be other tokens
        raise SessionMismatchError(
            f"the session {name!r} begins with another prompt, {held[:_SHOWN]!r}, not "
            f'{text[:_SHOWN]!r}. Load it all the same with on_other_prompt="load", begin anew '
            'with "replace", which keeps it as an earlier version, or use another name'
        )


def _chain_problem(segments: Sequence[Segment]) -> str | None:
    """Why segments do not follow each other; None when they do."""
    at = 0
    for segment in segments:
        if segment.start != at:
            return f"a segment that starts at token {segment.start} follows {at} tokens"
        at = segment.stop
    return None
