"""The checkpoint tree: commit, checkout, undo, redo, fork, tag, prune, diff.

Every checkpoint holds the rows of its own tokens alone. Moving drops rows back to the common
ancestor and puts the target's behind them, so that whatever was, is again, to the bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..engine.context import Context
from ..errors import ContextError, HistoryError, InexactWarning, ParameterError
from ..state.segment import Segment
from .books import TreeBooks
from .checkpoint import Checkpoint, check_notes
from .compare import Difference, compare
from .events import Tagged
from .order import Job
from .paths import Redo, common_ancestor
from .refs import check_tag, resolve

__all__ = ["CheckpointTree", "check_steps"]


class CheckpointTree(TreeBooks):
    """A tree of checkpoints over one context, which it owns.

    Parameters
    ----------
    context : Context
        What it holds already becomes the first checkpoint.
    max_bytes : int, optional
        Memory for rows; what was used longest ago moves to a temporary folder. None: a share of
        the memory that is free.

    Raises
    ------
    HistoryError
        When another tree owns the context.

    Attributes
    ----------
    after_turn : callable, optional
        Called when ``turn`` is left, on the thread that had it and still holding the tree.

    Notes
    -----
    Whoever works on the context directly is understood at the tree's next operation: appended
    tokens are committed, a rewind moves the head, a loaded session is a new branch at the root.

    One thread at a time changes the tree, and an operation is done as a whole or, should something
    fail, leaves the head where it was. A ``KeyboardInterrupt`` ends what is being evaluated and is
    raised once the tree is in order.
    """

    def __init__(self, context: Context, *, max_bytes: int | None = None) -> None:
        try:
            context.claim(self)
        except ContextError as error:
            raise HistoryError(str(error)) from None
        super().__init__(context, max_bytes)
        self.after_turn: Callable[[], object] | None = None
        context.mark()
        with self.operation():
            self.settle()

    @property
    def head(self) -> Checkpoint:
        """The checkpoint that the context stands on, or behind it with uncommitted tokens."""
        if self.context.watermark < self._head.stop:
            with self.order.free() as is_free:
                if is_free:  # else somebody is moving it
                    self._follow_context()
        return self._head

    # -- order -------------------------------------------------------------------------------

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the tree for several operations in a row; other threads wait."""
        is_outermost = not self.order.is_mine
        with self.order.turn():
            try:
                yield
            finally:
                if is_outermost and self.after_turn is not None:
                    self.after_turn()

    @contextmanager
    def operation(self, job: Job | None = None) -> Iterator[None]:
        """Hold the tree for what is one operation: interrupts are raised when it has ended."""
        with self.order.operation(job) as running:
            self._follow_context()
            yield
        if self._rows.said and not running.is_running:
            said, self._rows.said = self._rows.said, []
            warnings.warn(
                f"{'; '.join(said)}. What follows may differ in its last bits from what was "
                "there, and with them now and then in a token",
                InexactWarning,
                stacklevel=4,
            )

    def _follow_context(self) -> None:
        """Understand what somebody did to the context directly."""
        kept = self.context.watermark
        if kept < self._head.stop:
            self._set_head(self._cut_at(self._head, kept))
            self._redo = None
            if self.keeps_snapshots and not self.uncommitted:
                self._rows.keep_state(self._head)

    def settle(self) -> None:
        """Commit what somebody appended to the context directly."""
        if self.uncommitted:
            self.commit(source="context")

    @contextmanager
    def or_back(self, *, whatever: bool = False) -> Iterator[None]:
        """Return to where the head is now if the block fails.

        Parameters
        ----------
        whatever : bool
            Even if it has committed something by then; that checkpoint remains.
        """
        home, redo, n_made = self._head, self._redo, self.n_made
        try:
            yield
        except BaseException:
            if (whatever or self.n_made == n_made) and home in self:
                self._go(home)
                self._redo = redo
            raise

    # -- commit ------------------------------------------------------------------------------

    def commit(
        self, *, logprobs: Sequence[float] = (), allow_empty: bool = False, **metadata: Any
    ) -> Checkpoint:
        """Make a checkpoint of the tokens that the context holds behind the head.

        Parameters
        ----------
        logprobs : sequence of float
            Of the tokens, where they were generated.
        allow_empty : bool
            Whether to make a checkpoint without tokens where there are none.
        **metadata
            Notes: plain values that JSON can hold.

        Returns
        -------
        Checkpoint
            The new head; without new tokens the old one, with the notes added.
        """
        check_notes(metadata)
        with self.operation():
            n = self.uncommitted
            if logprobs and len(logprobs) != n:
                raise ParameterError(f"{len(logprobs)} logprobs do not fit {n} new tokens")
            if not n and not allow_empty:
                self._head.metadata.update(metadata)
                self.n_edits += 1
                return self._head
            segment = self._rows.capture(self._head) if n else None
            return self._attach(segment, metadata, logprobs, is_head=True)

    def adopt(
        self, segment: Segment | None, *, logprobs: Sequence[float] = (), **metadata: Any
    ) -> Checkpoint:
        """Make a checkpoint behind the head of rows that were captured elsewhere.

        The head stays where it is. This is how the answers of an exploration come in.
        """
        check_notes(metadata)
        with self.operation():
            if segment is not None and segment.start != self._head.stop:
                raise HistoryError(
                    f"rows that start at token {segment.start} cannot follow the head, "
                    f"which ends at {self._head.stop}"
                )
            return self._attach(segment, metadata, logprobs, is_head=False)

    def diff(self, a: Checkpoint | str, b: Checkpoint | str = "HEAD") -> Difference:
        """Where two checkpoints part, what each says from there, and how likely that was."""
        with self.operation():
            self.settle()
            return compare(self, resolve(self, a), resolve(self, b))

    def spill(self, ref: Checkpoint | str) -> None:
        """Move a checkpoint's rows from memory to the temporary folder."""
        with self.operation():
            self._rows.spill(resolve(self, ref))

    # -- move --------------------------------------------------------------------------------

    def checkout(self, ref: Checkpoint | str) -> Checkpoint:
        """Make the context stand on a checkpoint, exactly as it did; uncommitted tokens are kept.

        Parameters
        ----------
        ref : Checkpoint or str

        Returns
        -------
        Checkpoint
            The new head.

        Warns
        -----
        InexactWarning
            When rows were lost for want of room, and came out differently when their tokens were
            evaluated again.
        """
        with self.operation():
            self.settle()
            target = resolve(self, ref)
            with self.or_back():
                self._go(target)
            self._redo = None
            return target

    def undo(self, n: int = 1, *, to: Checkpoint | None = None) -> Checkpoint:
        """Go back to the parent, ``n`` times, and remember the way; stops at the root.

        Uncommitted tokens are committed first, and count as a step.

        Parameters
        ----------
        n : int
        to : Checkpoint, optional
            Where to stand in the end, if not on that ancestor.
        """
        check_steps(n)
        with self.operation():
            self.settle()
            way: list[Checkpoint] = []
            at = self._head
            while len(way) < n and at.parent is not None:
                way.append(at)
                at = at.parent
            at = at if to is None else to
            with self.or_back():
                self._go(at)
            for checkpoint in way:
                self._redo = Redo(checkpoint, self._redo)
            return at

    def redo(self, n: int = 1) -> Checkpoint:
        """Follow the way back that ``undo`` remembered, ``n`` times at the most."""
        check_steps(n)
        with self.operation():
            self.settle()  # a new branch; there is nothing ahead of it
            way = self._redo
            if way is not None:
                for _ in range(min(n, way.n) - 1):
                    assert way.rest is not None
                    way = way.rest
                with self.or_back():
                    self._go(way.checkpoint)
                self._redo = way.rest
            return self._head

    def _go(self, target: Checkpoint) -> None:
        """Move context and head."""
        if target is self._head:
            return
        common = common_ancestor(self._head, target)
        ahead = []
        at = target
        while at is not common:
            ahead.append(at)
            assert at.parent is not None
            at = at.parent
        self._rows.stand_on(target, common, ahead[::-1], self._set_head)

    def take_places(
        self,
        *,
        head: Checkpoint,
        redo: Sequence[Checkpoint],
        tags: Mapping[str, Checkpoint],
        n_made: int,
    ) -> None:
        """Stand where a saved tree stood, once its checkpoints were taken in."""
        self._tags = dict(tags)
        self.n_made = n_made
        with self.operation():
            self._go(head)
            self._redo = Redo.of(redo[::-1])

    # -- fork --------------------------------------------------------------------------------

    def fork(
        self,
        ref: Checkpoint | str = "HEAD",
        *,
        token: int | None = None,
        choose: str | int | None = None,
        **metadata: Any,
    ) -> Checkpoint:
        """Stand in front of a token inside a checkpoint, and go another way from there.

        Parameters
        ----------
        ref : Checkpoint or str
        token : int, optional
            Counted from the checkpoint's first token, 0; -1 is its last. None: behind all of them.
        choose : str or int, optional
            A text or token to go on with; it is committed.
        **metadata
            Notes for that commit.

        Returns
        -------
        Checkpoint
            The new head. Checkpoints in front of and behind the token remain.
        """
        with self.operation():
            self.settle()
            point = checkpoint = resolve(self, ref)
            position, chosen = _position(checkpoint, token), self._chosen_tokens(choose)
            with self.or_back():
                if token is not None:
                    point = self._cut_at(checkpoint, position)
                self._go(point)
                logprobs = self._choose(chosen)
            self._redo = None
            return self.commit(logprobs=logprobs, **metadata) if chosen else point

    def fork_at(self, position: int) -> Checkpoint:
        """Stand behind the first ``position`` tokens of the present path."""
        with self.operation():
            self.settle()
            stop = self._head.stop
            is_number = isinstance(position, int) and not isinstance(position, bool)
            if not is_number or not 0 <= position <= stop:
                raise ParameterError(f"position={position!r} must be 0 to {stop}")
            point = self._cut_at(self._head, position)
            with self.or_back():
                self._go(point)
            self._redo = None
            return point

    @contextmanager
    def visit(self, ref: Checkpoint | str) -> Iterator[Checkpoint]:
        """Stand on a checkpoint for a while, then again where the head was."""
        with self.turn():
            with self.operation():
                self.settle()
                home, redo, n_edits = self._head, self._redo, self.n_edits
                target = resolve(self, ref)
                with self.or_back():
                    self._go(target)
            try:
                yield target
            finally:
                with self.operation():
                    self.settle()
                    if home in self:
                        self._go(home)
                        if redo is not None and self.n_edits != n_edits:
                            redo = Redo.of([c for c in redo if c in self])
                        self._redo = redo

    def evaluate(self, tokens: Sequence[int], **options: Any) -> None:
        """Evaluate tokens behind the head within an operation; all of them or none.

        Raises
        ------
        HistoryError
            When the operation was stopped.
        """
        self._rows.evaluate(tokens, **options)

    def _chosen_tokens(self, choose: str | int | None) -> list[int]:
        model = self.context.model
        if choose is None:
            return []
        if isinstance(choose, str):
            tokens = model.tokenize(choose)
        else:
            is_token = isinstance(choose, int) and not isinstance(choose, bool)
            tokens = [choose] if is_token and 0 <= choose < model.n_vocab else []
        if not tokens:
            raise ParameterError(
                f"choose={choose!r} is no token; give a text, or an id below {model.n_vocab}"
            )
        return tokens

    def _choose(self, tokens: Sequence[int]) -> list[float]:
        """Evaluate tokens as if they had been generated, one at a time; their logprobs."""
        logprobs: list[float] = []
        if tokens and self.context.token_count():
            logprobs += self.context.score(tokens).logprobs  # checks that there is room, too
        for token in tokens:
            self.evaluate([token])
        return logprobs

    # -- tag and prune -----------------------------------------------------------------------

    def tag(self, name: str, ref: Checkpoint | str = "HEAD", *, force: bool = False) -> Checkpoint:
        """Name a checkpoint.

        Parameters
        ----------
        name : str
        ref : Checkpoint or str
        force : bool
            Whether a tag of that name moves here.
        """
        check_tag(name)
        with self.operation():
            if ref == "HEAD":
                self.settle()
            checkpoint = resolve(self, ref)
            if name in self._tags and self._tags[name] is not checkpoint and not force:
                raise HistoryError(
                    f"the tag {name!r} is on {self._tags[name]!r}; give force=True to move it"
                )
            self._tags[name] = checkpoint
            self.changes.note()
            self._observers.tell(Tagged(name, checkpoint.id))
            return checkpoint

    def untag(self, name: str) -> None:
        """Take a tag away; the checkpoint stays."""
        with self.operation():
            if name not in self._tags:
                resolve(self, name)  # names the candidates
                raise HistoryError(f"{name!r} is no tag")
            del self._tags[name]
            self.changes.note()
            self._observers.tell(Tagged(name, None))

    def prune(self, ref: Checkpoint | str, *, force: bool = False) -> int:
        """Remove a checkpoint and all that follow it; this is the one thing that forgets.

        Parameters
        ----------
        ref : Checkpoint or str
        force : bool
            Needed where tags would go, or the head, which then moves to the parent; uncommitted
            tokens go with it.

        Returns
        -------
        int
            Checkpoints that were removed.
        """
        with self.operation():
            checkpoint = resolve(self, ref)
            if checkpoint.parent is None:
                raise HistoryError("the root cannot be pruned; prune its children")
            gone = {c.id for c in (checkpoint, *checkpoint.descendants())}
            what = [f"the tag {name!r}" for name, c in self._tags.items() if c.id in gone]
            has_head = self._head.id in gone
            what += ["the head"] * has_head
            if what and not force:
                raise HistoryError(
                    f"pruning {checkpoint!r} would remove {' and '.join(what)}; give force=True"
                )
            if has_head:
                self._go(checkpoint.parent)
            return self._remove(checkpoint)


def check_steps(n: int) -> None:
    """Check a number of steps.

    Raises
    ------
    ParameterError
        When it is none.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ParameterError(f"n={n!r} must be 1 or more")


def _position(checkpoint: Checkpoint, token: int | None) -> int:
    """Tokens in front of a checkpoint's token."""
    n = len(checkpoint.tokens)
    if token is None:
        return checkpoint.stop
    if isinstance(token, bool) or not isinstance(token, int) or not -n <= token <= n:
        raise ParameterError(f"token={token!r} is not in the checkpoint, which has {n} tokens")
    return checkpoint.start + (token + n if token < 0 else token)
