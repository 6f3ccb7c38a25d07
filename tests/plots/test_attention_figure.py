"""The figure of attention shows the numbers of a look, and names what it leaves out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from tiny_models import CHATML

from mullama_nb import Chat, Look, plots
from mullama_nb.errors import ParameterError


def look_at(model: Any, text: str, n_ctx: int = 256) -> Look:
    messages = [{"role": "user", "content": text}]
    chat = Chat.from_messages(model, messages, n_ctx=n_ctx, n_threads=1)
    return chat.context.look()


@pytest.fixture(scope="module")
def look(tiny: ModelMaker) -> Look:
    return look_at(tiny("llama", chat_template=CHATML), "a $\\frac$ b")


def title(figure: Any) -> str:
    return str(figure.axes[0].get_title(loc="left"))


@pytest.mark.slow
def test_a_map_has_a_row_for_each_layer_or_head(look: Look) -> None:
    assert look.position < 48
    for options, rows in (
        ({}, look.attention.mean(axis=1)),
        ({"head": 2}, look.attention[:, 2]),
        ({"layer": 1}, look.attention[1]),
    ):
        figure: Any = plots.attention(look, leave_out_sinks=False, **options)  # type: ignore[arg-type]
        (image,) = figure.axes[0].images
        np.testing.assert_allclose(image.get_array(), rows, atol=1e-6)
        assert figure.axes[0].get_ylabel() == ("head" if "layer" in options else "layer")
        rest: Any = plots.attention(look, **options)  # type: ignore[arg-type]
        (image,) = rest.axes[0].images
        assert not image.get_array()[:, 0].any()
        np.testing.assert_allclose(image.get_array()[:, 1:], rows[:, 1:], atol=1e-6)
        assert "without token 0 '<|im_start|>'" in title(rest)
        assert "without" not in title(figure)


def test_bars_are_one_head_scaled(look: Look) -> None:
    figure: Any = plots.attention(look, layer=2, head=3)
    heights = [bar.get_height() for bar in figure.axes[0].containers[0]]
    row = look.attention[2, 3].copy()
    row[0] = 0
    np.testing.assert_allclose(heights, 100 * row / row.sum(), rtol=1e-4)
    assert title(figure).startswith("Layer 2, head 3: where token")


def test_of_many_tokens_those_are_drawn_that_got_most(tiny: ModelMaker) -> None:
    look = look_at(tiny("llama", chat_template=CHATML), "sea and wind " * 30)
    figure: Any = plots.attention(look, layer=0, head=0, leave_out_sinks=False)
    heights = [bar.get_height() for bar in figure.axes[0].containers[0]]
    best = np.sort(np.argsort(-look.attention[0, 0], kind="stable")[:48])
    np.testing.assert_allclose(heights, 100 * look.attention[0, 0][best], rtol=1e-4)
    assert "the 48 it looked at most" in title(figure)
    assert len(figure.axes[0].get_xticklabels()) == 48


def test_tokens_are_written_as_they_can_be_seen(look: Look) -> None:
    figure: Any = plots.attention(look)
    assert figure._repr_png_().startswith(b"\x89PNG")  # "$\\frac$" is no mathematics
    assert figure.patch.get_alpha() == 0
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert len(labels) == look.position + 1
    assert labels[look.pieces.index("\n")] == "↵"


def test_a_model_without_attention_is_refused(tiny: ModelMaker) -> None:
    with pytest.raises(ParameterError, match="no attention"):
        plots.attention(look_at(tiny("mamba", chat_template=CHATML), "a"))
