"""Where a token looked, and what each layer made of it."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ...checks import check_integer
from ...errors import ContextClosedError, ContextError, ParameterError
from ...tables import LEFT, html_table
from ..adapters.loaded import LoadedAdapters
from ..decoder import Logits
from ..model import Model
from ..native import StopFlag
from ..params import ContextParams
from ..path import ActivePath
from ..sampling.probability import TokenProbability, likeliest
from ..scheduler import Scheduler
from ..tally import Tally
from ..threads.lock import CancelToken
from .graph import Floats
from .guess_table import guesses_html, guesses_table
from .probe import Probe, Seen

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["Lens", "Look"]

_SHOWN_GUESSES = 5


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One token of a context: where it looked, and what each layer made of it.

    Made by :meth:`Context.look`. The arrays cannot be written to.

    Attributes
    ----------
    position : int
        The token's.
    tokens : tuple of int
        The tokens up to this one.
    pieces : tuple of str
        Their texts, control tokens written out; part of a character is U+FFFD.
    attention : ndarray of float32, shape (n_layers, n_heads, position + 1)
        Which part of what a head took came from each token. Each row sums to 1, less the part in
        ``sinks``. NaN in layers without attention, and in heads that a layer does not have.
    sinks : ndarray of float32, shape (n_layers, n_heads)
        The part that went to a head's learnt sink, to no token: 0 but for models such as gpt-oss.
    hidden : ndarray of float32, shape (n_layers + 1, n_embd)
        The residual stream: at 0 what enters the first layer, at k what leaves the k-th.
    logits : ndarray of float32, shape (n_vocab,)
        Of the token that comes next.
    """

    position: int
    tokens: tuple[int, ...] = field(repr=False)
    pieces: tuple[str, ...] = field(repr=False)
    attention: Floats = field(repr=False)
    sinks: Floats = field(repr=False)
    hidden: Floats = field(repr=False)
    logits: Logits = field(repr=False)
    _adapters: LoadedAdapters = field(repr=False)
    _lens: weakref.ReferenceType[Lens] = field(repr=False)

    @property
    def attention_layers(self) -> tuple[int, ...]:
        """The layers that have attention, counted from 0; none in a purely recurrent model."""
        is_known = ~np.isnan(self.attention).all(axis=(1, 2))
        return tuple(int(n) for n in np.flatnonzero(is_known & (self.attention.shape[1] > 0)))

    def lens(self, k: int) -> Logits:
        """Return the logits that the ``k``-th layer would have given, had it been the last.

        What leaves it goes through the model's own final norm and output matrix (the *logit
        lens*). All layers are computed together and kept until another look is asked.

        Parameters
        ----------
        k : int
            From 0, what enters the first layer, to the number of layers.

        Returns
        -------
        ndarray of float32, shape (n_vocab,)

        Raises
        ------
        ContextClosedError
            When the context was closed, or nothing refers to it any more.
        ContextError
            When the model's logits depend on more than what leaves its last layer.
        """
        k = check_integer("k", k, 0, len(self.hidden) - 1)
        logits: Logits = self._open_lens().logits(self)[k].copy()
        return logits

    def guesses(self, n: int = 5) -> list[list[TokenProbability]]:
        """Return the likeliest next tokens by :meth:`lens`, one list for each row of ``hidden``.

        Parameters
        ----------
        n : int
            Tokens in a list, the likeliest first.

        Raises
        ------
        ContextError
            As for :meth:`lens`.
        """
        n = check_integer("n", n, 1)
        lens = self._open_lens()
        return [likeliest(row, n, lens.model) for row in lens.logits(self)]

    def _open_lens(self) -> Lens:
        lens = self._lens()
        if lens is None:
            raise ContextClosedError(
                "the context that this look was taken in is gone, and with it the probe that asks "
                "its layers; keep the context, and look again"
            )
        return lens

    def __repr__(self) -> str:
        n_layers, n_heads, n_tokens = self.attention.shape
        return (
            f"Look({self.pieces[-1]!r} at {self.position:,} of {n_tokens:,} tokens, "
            f"{n_layers} layers x {n_heads} heads)"
        )

    def _repr_html_(self) -> str:
        try:
            return guesses_html(self.guesses(_SHOWN_GUESSES), repr(self))
        except ContextError as error:
            return html_table([[str(error)]], caption=repr(self), styles=[LEFT])

    def __rich__(self) -> Table | Text:
        from rich.text import Text

        try:
            return guesses_table(self.guesses(_SHOWN_GUESSES), repr(self))
        except ContextError as error:
            return Text(str(error))


class Lens:
    """Takes looks in a context, and asks layers for what they would say.

    Parameters
    ----------
    model : Model
    params : ContextParams
    n_ctx : int
        The context's cells.
    scheduler : Scheduler
    flag : StopFlag
        Stops a long evaluation.
    tally : Tally
        Counts the tokens that are evaluated.

    Attributes
    ----------
    model : Model
    """

    def __init__(
        self,
        model: Model,
        params: ContextParams,
        n_ctx: int,
        scheduler: Scheduler,
        flag: StopFlag,
        tally: Tally,
    ) -> None:
        self.model = model
        self._scheduler = scheduler
        self._probe = Probe(model, params, n_ctx, flag, tally)
        self._asked: tuple[Floats, Floats] | None = None  # hidden states, and their logits

    def look(self, position: int | None) -> tuple[Look, bool]:
        """Return a look, and whether it is exact."""
        scheduler, cancel = self._scheduler, CancelToken()

        def job(path: ActivePath) -> Seen:
            return self._probe.look(path, _position(position, path.n_tokens))

        seen = None
        while seen is None:  # a long look gives way to whoever moves the path, and begins anew
            seen = scheduler.wait(lambda: scheduler.look(job, cancel), cancel)
            if seen is None and cancel.is_cancelled:
                raise ContextError("the look was stopped; the context is as it was")
        for array in (seen.attention, seen.sinks, seen.hidden, seen.logits):
            array.flags.writeable = False
        piece = self.model.vocabulary.piece
        look = Look(
            seen.position,
            seen.tokens,
            tuple(piece(token, special=True).decode("utf-8", "replace") for token in seen.tokens),
            seen.attention,
            seen.sinks,
            seen.hidden,
            seen.logits,
            seen.adapters,
            weakref.ref(self),
        )
        return look, seen.is_exact

    def logits(self, look: Look) -> Floats:
        """Return what each row of a look's hidden states would say; do not write to it."""
        asked = self._asked
        if asked is None or asked[0] is not look.hidden:
            scheduler, cancel = self._scheduler, CancelToken()
            logits = scheduler.wait(lambda: self._probe.logits(look.hidden, look._adapters), cancel)
            self._asked = asked = look.hidden, logits
        return asked[1]

    def free(self) -> None:
        """Free the native context; the next look makes another one."""
        self._probe.free()
        self._asked = None


def _position(position: int | None, n_tokens: int) -> int:
    if not n_tokens:
        raise ContextError("the context is empty: there is no token to look at; evaluate some text")
    if position is None:
        return n_tokens - 1
    if not -n_tokens <= position < n_tokens:
        raise ParameterError(
            f"there is no token at {position}: the context holds {n_tokens:,}, the last one at "
            f"{n_tokens - 1:,}"
        )
    return position % n_tokens
