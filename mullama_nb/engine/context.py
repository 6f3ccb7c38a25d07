"""A live context: evaluate, generate, rewind, fork, capture and restore, save and load."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..errors import ContextError, ParameterError, UnverifiedWarning
from ..state.atomic import make_private_folder
from ..state.file import SessionFile, read_session, write_session
from ..state.layout import row_places
from ..state.segment import Segment
from ..state.session_info import SessionInfo, session_info
from .awaiting import in_thread
from .context_answers import ContextAnswers
from .context_state import TokenProbability, warn_inexact
from .lock import interrupts_held
from .path import Progress
from .rotation import VARIABLE
from .session import fitted, packed
from .warn import warn

__all__ = ["Context", "TokenProbability"]


class Context(ContextAnswers):
    """One live llama.cpp context: tokens, their KV cells, and the logits of the next token.

    Parameters
    ----------
    model : Model
    params : ContextParams, optional
    verbose : bool, optional
        Whether to show llama.cpp's log; None as the model was loaded.

    Raises
    ------
    ParameterError
        When model and parameters cannot go together.

    Notes
    -----
    Every method may be called from any thread. Evaluating runs on a thread of the context's own,
    one call after the other; rewinding, capturing and restoring run on the caller's thread between
    two tokens, and end what is being generated where it stands. A ``KeyboardInterrupt`` ends a
    generation between two tokens and never leaves anything half done.
    """

    # -- move --------------------------------------------------------------------------------

    def rewind(self, n_tokens: int, *, progress: Progress | None = None) -> int:
        """Keep ``tokens[:n_tokens]``; as in a slice, a negative number counts from the end.

        Memory that can be cut only drops rows. Recurrent memory returns to the nearest state that
        it kept and evaluates from there again.

        Parameters
        ----------
        n_tokens : int
        progress : callable, optional
            Called with tokens evaluated again so far and in all.

        Returns
        -------
        int
            Tokens that had to be evaluated again.

        Raises
        ------
        ParameterError
            When the context holds fewer tokens.
        """
        if isinstance(n_tokens, bool) or not isinstance(n_tokens, int):
            raise ParameterError(f"n_tokens={n_tokens!r} must be an integer")

        with self._runner.moving() as path:
            keep = n_tokens + path.n_tokens if n_tokens < 0 else n_tokens
            inexact = keep > 0 and not path.repeats(keep)
            n_evaluated = path.rewind(keep, progress)
        if inexact:
            warn_inexact(f"{n_evaluated} tokens were evaluated again to rewind")
        return n_evaluated

    def clear(self) -> None:
        """Drop all tokens."""
        with self._runner.moving() as path:
            path.clear()

    def fork(self) -> Context:
        """A second context on the same weights that stands where this one stands.

        Raises
        ------
        ContextError
            When contexts that are made now would take the rows for others.

        Warns
        -----
        InexactWarning
            When this one holds the last rows of a sliding window only.
        """
        state = self._runner.call(lambda path: path.whole_state() if path.tokens else None)
        other = Context(self.model, self.params)
        if state is not None:
            if other.settings_digest != self.settings_digest:
                other.close()
                raise ContextError(
                    "the environment is not what it was when this context was made: rows of a "
                    f"context that is made now would mean something else. Set {VARIABLE} as it was"
                )
            with other._runner.moving() as path:
                path.replace(state)
            if state.floor:
                warn_inexact("a fork takes over only the last rows of the sliding window")
        return other

    def capture(self, start: int = 0, *, parent: str | None = None) -> Segment:
        """The rows of the tokens from ``start`` to the end.

        Parameters
        ----------
        start : int
        parent : str, optional
            Address of the segment that holds the rows in front.

        Raises
        ------
        ContextError
            When there are no tokens behind ``start``.
        """
        settings = self.settings_digest
        with self._runner.held() as path:
            if not 0 <= start < path.n_tokens:
                raise ContextError(
                    f"there are no tokens to capture from {start} on: "
                    f"the context holds {path.n_tokens}"
                )
            return path.capture(start, settings, parent)

    def restore(self, segments: Segment | Sequence[Segment], *, keep: int = 0) -> None:
        """Keep ``keep`` tokens and put captured rows behind them.

        Parameters
        ----------
        segments : Segment or sequence of Segment
            In order, the first one starting at ``keep``.
        keep : int
            Tokens that the rows were captured behind.

        Raises
        ------
        ContextError
            When the segments do not follow each other or belong to other settings.
        """
        chain = [segments] if isinstance(segments, Segment) else list(segments)
        settings, at = self.settings_digest, keep
        for segment in chain:
            if segment.settings != settings:
                raise ContextError(
                    "a segment of another model or other settings cannot be restored here"
                )
            if segment.start != at:
                raise ContextError(
                    f"a segment that starts at token {segment.start} cannot follow {at} tokens"
                )
            at = segment.stop
        with self._runner.moving() as path:
            if not 0 <= keep <= path.n_tokens:
                raise ContextError(f"cannot keep {keep} tokens: the context holds {path.n_tokens}")
            path.room(at - path.n_tokens)
            whole = bool(chain) and chain[-1].whole
            inexact = keep > 0 and not whole and not path.repeats(keep)
            path.restore(chain, keep)
            lacks_rows = whole and path.memory.floor > 0
        if lacks_rows:
            warn_inexact("only the last rows of the sliding window were restored")
        if inexact:
            warn_inexact(f"{keep} tokens were evaluated again to restore behind them")

    # -- sessions ----------------------------------------------------------------------------

    def save_session(
        self,
        path: str | os.PathLike[str],
        *,
        include_logits: bool = True,
        window_only: bool = False,
    ) -> SessionInfo:
        """Save the context to a file from which it goes on exactly.

        The file is a ``ggsq`` file of llama.cpp with a trailer that llama.cpp ignores. It appears
        whole or not at all; what was there before stays until then. Its owner alone can read it.

        Parameters
        ----------
        path : str or path
            Missing folders are made.
        include_logits : bool
            Whether to put the next token's logits in, ``4 * n_vocab`` bytes. Without them the last
            token is decoded again when they are needed, with the same result to the bit.
        window_only : bool
            Whether to leave out the rows that a model's sliding window does not see any more. A
            llama-server without ``--swa-full`` takes no others; here such a file goes on, but not
            exactly, and not back.

        Raises
        ------
        ContextError
            When the context is empty.
        SessionWriteError
            When the file cannot be written.
        """
        path = Path(path).expanduser()
        structure, _ = self.layout

        state = self._runner.call(
            lambda path: path.whole_state(include_logits=include_logits, window_only=window_only)
        )
        make_private_folder(path.parent)
        outline = write_session(path, packed(self._host, structure, state))
        return session_info(path.name, outline)

    def load_session(self, path: str | os.PathLike[str]) -> SessionInfo:
        """Continue where a saved session was.

        Every byte is checked before llama.cpp sees it. When anything is wrong the context stays as
        it was.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        SessionInfo

        Raises
        ------
        SessionNotFoundError
            When there is no such file.
        SessionFormatError
            When the file is damaged or no session.
        SessionMismatchError
            When it belongs to another model or other settings, or needs more cells.

        Warns
        -----
        InexactWarning
            When it was saved by another build of llama.cpp, CPU or number of threads, or with the
            last rows of a sliding window only.
        UnverifiedWarning
            When llama.cpp wrote it: it does not say which model it belongs to.
        """
        path = Path(path).expanduser()
        layout = self.layout
        with interrupts_held():  # one that came between open and close would leave a file open
            session = read_session(path, partial(row_places, *layout))
        self.take_session(session, path.name)
        return session_info(path.name, session.outline)

    def take_session(self, session: SessionFile, name: str) -> None:
        """Continue where a session was that was read already; as :meth:`load_session` otherwise.

        Parameters
        ----------
        session : SessionFile
        name : str
            What errors and warnings call it.
        """
        structure, shape = self.layout
        fit = fitted(session, self._host, structure, shape, name)
        with self._runner.moving() as moved:
            moved.replace(fit.state)
        if fit.unverified:
            warn(
                f"{name} was not written by mullama_nb: that it belongs to "
                f"{self.model.name!r} could not be verified",
                UnverifiedWarning,
            )
        if fit.inexact:
            warn_inexact(f"{name} was saved elsewhere: {'; '.join(fit.inexact)}")
        if fit.state.floor:
            warn_inexact(f"{name} holds only the last rows of the sliding window")

    async def asave_session(
        self,
        path: str | os.PathLike[str],
        *,
        include_logits: bool = True,
        window_only: bool = False,
    ) -> SessionInfo:
        """:meth:`save_session` for asyncio; cancelled, it leaves the whole file or none."""
        return await in_thread(
            lambda: self.save_session(path, include_logits=include_logits, window_only=window_only)
        )

    async def aload_session(self, path: str | os.PathLike[str]) -> SessionInfo:
        """:meth:`load_session` for asyncio."""
        return await in_thread(lambda: self.load_session(path))
