"""Steering: directions between two kinds of prompts, as control vectors.

>>> from mullama_nb.steering import contrast
>>> steering = contrast(model, plus=["I am happy."], minus=["I am sad."])
>>> chat.adapters = [steering.adapter(scale=4)]

A direction is what tells the hidden states of the two kinds apart, in each layer. Adding it to what
a layer puts out makes an answer more of the one kind; a negative scale, more of the other. How much
is measured by log-probabilities, in :meth:`Steering.effect`; ``plots.steering`` draws them.
"""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .cached import cached
from .checks import check_list, is_integer
from .engine.adapters.file import read_model_hint, write_control_vector
from .engine.adapters.values import ControlVector
from .engine.context import Context
from .engine.model import Model
from .engine.params import ContextParams
from .engine.prompt import plan_prompt
from .engine.templates.template import Message
from .errors import AdapterError, ContextError, ParameterError, shown
from .tables import RIGHT, html_table

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Effect", "Steering", "contrast"]

_Prompt: TypeAlias = str | Sequence[Message]
_Array: TypeAlias = npt.NDArray[Any]
_METHODS = ("mean", "pca")
_SCALES = tuple(n / 2 for n in range(-8, 9))


@dataclass(frozen=True, eq=False, repr=False)
class Effect:
    """How likely texts are at several scales of a steering.

    Attributes
    ----------
    scales : tuple of float
    continuations : tuple of str
    logprobs : ndarray of float64, shape (n_scales, n_continuations)
        The natural logarithm of each text's probability after the prompt. Read-only.
    """

    scales: tuple[float, ...]
    continuations: tuple[str, ...]
    logprobs: npt.NDArray[np.float64]

    def __repr__(self) -> str:
        texts = shown(", ".join(map(repr, self.continuations)))
        return f"Effect({len(self.scales)} scales, {texts})"

    def _repr_html_(self) -> str:
        rows = [
            [f"{scale:g}", *(f"{value:.2f}" for value in row)]
            for scale, row in zip(self.scales, self.logprobs, strict=True)
        ]
        styles = [RIGHT] * (len(self.continuations) + 1)
        heads = ("scale", *map(shown, map(repr, self.continuations)))
        return html_table(rows, heads, styles=styles, caption="log-probabilities")


@dataclass(frozen=True, eq=False, repr=False)
class Steering:
    """A direction for each layer of a model.

    Parameters
    ----------
    directions : array_like of float32, shape (n_layers, n_embd)
        Each of length 1, or zeros for a layer without one. Layer 0 has none, as llama.cpp adds
        nothing there. As an attribute it is read-only.
    architecture : str
        Of the models that it is for, such as ``"llama"``; empty if that is not known.
    name : str
        What it is called where a chat shows its adapters.

    Raises
    ------
    ParameterError
        When the directions are not such an array.
    """

    directions: npt.NDArray[np.float32]
    architecture: str = ""
    name: str = "steering"

    def __post_init__(self) -> None:
        for name in ("architecture", "name"):
            if not isinstance(getattr(self, name), str):
                raise ParameterError(f"{name} is a text, not {shown(getattr(self, name))}")
        object.__setattr__(self, "directions", self._vector.directions)

    @cached
    def _vector(self) -> ControlVector:
        return ControlVector.from_array(self.directions, name=self.name)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a GGUF file of a control vector: saved here, by llama.cpp or by repeng.

        Raises
        ------
        AdapterError
            When there is no such file, or it holds no control vector.
        """
        vector = ControlVector(path)
        return cls(vector.directions, read_model_hint(path), vector.name)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a GGUF file that llama.cpp's own programs read, too, as with ``--control-vector``.

        Raises
        ------
        SessionWriteError
            When the file cannot be written; an existing one is intact.
        """
        write_control_vector(path, self.directions, self.architecture)

    def adapter(self, scale: float = 1.0) -> ControlVector:
        """Return the control vector for ``chat.adapters``.

        Parameters
        ----------
        scale : float
            How much of each direction is added. Its unit is that of hidden states, whose lengths
            differ between models: try 1 to 10. Below 0 it leads the other way; 0 is the same as
            none.
        """
        return self._vector.with_scale(scale)

    def effect(
        self,
        model: Model | str | os.PathLike[str],
        prompt: _Prompt,
        continuations: Sequence[str],
        scales: Sequence[float] = _SCALES,
    ) -> Effect:
        """Return how likely continuations of a prompt are at several scales.

        Parameters
        ----------
        model : Model or str or path
        prompt : str or list of messages
            Evaluated anew for each scale, by itself.
        continuations : sequence of str
            Such as ``[" happy", " sad"]``.
        scales : sequence of float

        Raises
        ------
        ParameterError
            When an argument is empty or of another kind.
        AdapterError
            When the directions do not fit the model.
        """
        (prompt,) = _checked_prompts("prompt", [prompt])
        texts = _checked_prompts("continuations", continuations)
        if not all(isinstance(text, str) for text in texts):
            raise ParameterError("continuations are texts")
        adapters = [self.adapter(scale) for scale in check_list("scales", scales, "numbers")]
        if not adapters:
            raise ParameterError("scales has no numbers")
        model = _loaded(model)
        ends = [model.tokenize(str(text)) for text in texts]
        tokens = _tokens(model, prompt)
        found = []
        with Context(model, ContextParams(n_ctx=len(tokens) + max(map(len, ends)))) as context:
            for adapter in adapters:
                context.clear()
                context.adapters = [adapter]
                context.evaluate(tokens)
                found.append([context.score(end).total for end in ends])
        logprobs = np.array(found)
        logprobs.setflags(write=False)
        return Effect(tuple(a.scale for a in adapters), tuple(map(str, texts)), logprobs)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that have a direction."""
        return tuple(map(int, np.flatnonzero(self.directions.any(axis=1))))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Steering):
            return NotImplemented
        return self._vector == other._vector and self.architecture == other.architecture

    def __hash__(self) -> int:
        return hash(self._vector)

    def _described(self) -> str:
        layers, n_embd = self.layers, self.directions.shape[1]
        if not layers:
            return "no layers"
        where = f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"
        return f"{where}, {n_embd:,} values each"

    def __repr__(self) -> str:
        architecture = f"{shown(self.architecture)}, " if self.architecture else ""
        return f"Steering({shown(repr(self.name))}, {architecture}{self._described()})"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self))}</code>"


def contrast(
    model: Model | str | os.PathLike[str],
    plus: Sequence[_Prompt],
    minus: Sequence[_Prompt],
    *,
    method: Literal["mean", "pca"] = "mean",
    layers: tuple[int, int] | None = None,
) -> Steering:
    """Return the directions that lead from one kind of prompts to another.

    Each prompt is evaluated by itself, and the hidden state of its last token looked at after each
    layer. So let the two kinds end alike, and differ in what is meant.

    Parameters
    ----------
    model : Model or str or path
    plus, minus : sequence of prompts
        Texts, or lists of messages for the chat template. For ``"pca"`` the two are pairs.
    method : {"mean", "pca"}
        ``"mean"``: from the mean of the hidden states of ``minus`` to that of ``plus``. ``"pca"``:
        the first principal component of the pairs' differences (about 0, as llama.cpp has it),
        pointing the way that their mean does.
    layers : tuple of int, optional
        The first and the last layer with a direction. None: all but layer 0.

    Returns
    -------
    Steering
        Each direction has length 1, as llama.cpp's ``cvector-generator`` makes them; that of layer
        k is taken from what layer k puts out, where llama.cpp adds it. (The generator takes it from
        the layer before.)

    Raises
    ------
    ParameterError
        When an argument is wrong, a prompt is in both lists, or the two kinds do not differ.
    AdapterError
        When llama.cpp adds no control vectors in models of this kind, or to its one layer.
    ContextError
        When the model is of a kind that cannot be looked into.

    Examples
    --------
    >>> steering = contrast(model, plus=["I love it", "What joy"], minus=["I hate it", "How sad"])
    >>> chat.adapters = [steering.adapter(scale=4)]
    """
    if method not in _METHODS:
        raise ParameterError(f"method={shown(repr(method))} is not known; use 'mean' or 'pca'")
    sides = _checked_sides(plus, minus)
    if method == "pca" and len(sides[0]) != len(sides[1]):
        raise ParameterError(
            f"method='pca' takes pairs, and there are {len(sides[0])} prompts in plus and "
            f"{len(sides[1])} in minus"
        )
    model = _loaded(model)
    first, last = _checked_layers(layers, model.n_layers)
    tokens = [[_tokens(model, prompt) for prompt in prompts] for prompts in sides]
    flat = [each for side in tokens for each in side]
    with Context(model, ContextParams(n_ctx=max(map(len, flat)) + 1)) as context:
        states = np.array([_hidden_states(context, each) for each in flat])
        ups, downs = states[: len(sides[0])], states[len(sides[0]) :]
        directions = np.zeros((model.n_layers, model.n_embd), np.float32)
        for layer in range(first, last + 1):
            up, down = ups[:, layer], downs[:, layer]
            difference = up.mean(axis=0) - down.mean(axis=0)
            directions[layer] = _unit(
                difference if method == "mean" else _component(up - down, difference)
            )
        if not directions.any():
            raise ParameterError("the hidden states of plus and minus are equal: nothing leads on")
        steering = Steering(directions, model.architecture)
        context.adapters = [steering.adapter()]
        if np.array_equal(_hidden_states(context, flat[0]), states[0]):
            raise AdapterError(
                f"llama.cpp adds no control vectors in models of the architecture "
                f"{model.architecture!r}, so {model.name!r} cannot be steered"
            )
    return steering


def _component(differences: _Array, mean: _Array) -> _Array:
    """The first principal component of rows, on the mean's side."""
    component: _Array = np.linalg.svd(differences, full_matrices=False)[2][0]
    side = component @ mean or component @ differences[0]
    return -component if side < 0 else component


def _unit(row: _Array) -> _Array:
    length = float(np.linalg.norm(row))
    return row / length if length else row


def _hidden_states(context: Context, tokens: Sequence[int]) -> _Array:
    """What each layer puts out for the last token, float64 of shape (n_layers, n_embd)."""
    context.clear()
    context.evaluate(tokens)
    found: _Array = context.look().hidden[1:].astype(np.float64)
    model = context.model
    if found.shape != (model.n_layers, model.n_embd) or not np.isfinite(found).all():
        raise ContextError(
            f"the layers of {model.name!r} ({model.architecture}) do not put out {model.n_embd:,} "
            "finite numbers each, so there is nothing to steer it by"
        )
    return found


# -- arguments -------------------------------------------------------------------------------


def _checked_sides(plus: object, minus: object) -> tuple[list[_Prompt], list[_Prompt]]:
    sides = (_checked_prompts("plus", plus), _checked_prompts("minus", minus))
    for prompt in sides[0]:
        if prompt in sides[1]:
            raise ParameterError(f"{shown(repr(prompt))} is in plus and in minus; it tells nothing")
    return sides


def _checked_prompts(name: str, values: object) -> list[_Prompt]:
    if isinstance(values, (str, Mapping)) or not isinstance(values, Iterable):
        raise ParameterError(f"{name} is a list of prompts, not {shown(repr(values))}")
    prompts: list[_Prompt] = [
        value if isinstance(value, str) else _checked_messages(name, value) for value in values
    ]
    if not prompts or not all(prompts):
        raise ParameterError(f"{name} has {'an empty prompt' if prompts else 'no prompts'}")
    return prompts


def _checked_messages(name: str, value: object) -> list[Message]:
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        messages = list(value)
        if all(isinstance(message, Mapping) for message in messages):
            return messages
    raise ParameterError(
        f"a prompt in {name} is a text or a list of messages, not {shown(repr(value))}"
    )


def _checked_layers(layers: object, n_layers: int) -> tuple[int, int]:
    if n_layers < 2:
        raise AdapterError("the model has one layer, and llama.cpp adds nothing to the first one")
    if layers is None:
        return 1, n_layers - 1
    if (
        isinstance(layers, (tuple, list))
        and len(layers) == 2
        and all(map(is_integer, layers))
        and 1 <= layers[0] <= layers[1] < n_layers
    ):
        return int(layers[0]), int(layers[1])
    raise ParameterError(
        f"layers={shown(layers)} must be the first and the last layer, from 1 to {n_layers - 1}"
    )


def _loaded(model: Model | str | os.PathLike[str]) -> Model:
    return model if isinstance(model, Model) else Model.load(model)


def _tokens(model: Model, prompt: _Prompt) -> tuple[int, ...]:
    given = (prompt, None) if isinstance(prompt, str) else (None, prompt)
    return plan_prompt(model, (), *given, special=True).tokens
