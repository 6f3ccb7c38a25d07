"""Figures show what the tree and contexts say, and leave the rest of matplotlib alone."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from tiny_models import CHATML

from mullama_nb import Chat, CheckpointTree, Context, ContextParams, Model, Turn, plots
from mullama_nb.errors import ParameterError
from mullama_nb.plots.growth import measure_growth
from mullama_nb.signs import signs

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def model(tiny: Callable[..., Model]) -> Model:
    return tiny("llama", chat_template=CHATML, head_dim=32)


@pytest.fixture(scope="module")
def chat(model: Model) -> Chat:
    chat = Chat(model, n_ctx=256, n_threads=1, seed=1, temperature=2.0)
    chat.ask("first", max_tokens=4)
    chat.ask("second", max_tokens=4)
    chat.regenerate(max_tokens=4)
    return chat


def words(figure: Any) -> list[str]:
    (axes,) = figure.axes
    return [
        axes.get_title(loc="left"),
        axes.get_xlabel(),
        axes.get_ylabel(),
        *(text.get_text() for legend in [axes.get_legend()] if legend for text in legend.texts),
    ]


def test_growth_adds_up_to_what_the_tree_says(chat: Chat) -> None:
    growth = measure_growth(chat.tree)
    path = chat.tree.path()
    assert [step.checkpoint for step in growth.steps] == path
    assert growth.kept == sum(checkpoint.n_bytes for checkpoint in path)
    assert growth.n_tokens == chat.context.token_count()
    shared = [step.is_shared for step in growth.steps]
    assert shared == [True] * (len(path) - 1) + [False]
    chain = Chat.from_messages(
        chat.model, [{"role": role, "content": role} for role in ("user", "assistant")], n_ctx=64
    ).tree
    assert measure_growth(chain).kept == chain.kv_bytes().total
    assert measure_growth(chain).snapshots == chain.kv_bytes().snapshots


def test_whole_states_hold_nothing_twice(tiny: Callable[..., Model]) -> None:
    chat = Chat(tiny("mamba", chat_template=CHATML), n_ctx=128, n_threads=1)
    chat.ask("a", max_tokens=2)
    growth = measure_growth(chat.tree)
    assert chat.tree.keeps_snapshots
    assert growth.kept == growth.snapshots
    assert growth.bytes_per_token == 0


def test_bars_are_the_bytes_of_the_path(chat: Chat) -> None:
    (axes,) = plots.kv_growth(chat.tree).axes
    already, shared, own = ([bar.get_height() for bar in bars] for bars in axes.containers)
    growth = measure_growth(chat.tree)
    assert already == [step.before for step in growth.steps]
    assert [a + b for a, b in zip(shared, own, strict=True)] == [s.n_bytes for s in growth.steps]
    assert words(axes.figure)[1:3] == ["checkpoint on the active path", "KV rows (bytes)"]


def test_an_empty_tree_can_be_drawn(model: Model) -> None:
    figure: Any = plots.kv_growth(Chat(model, n_ctx=64, n_threads=1).tree)
    assert words(figure)[0].startswith("0 B kept")
    assert figure._repr_png_().startswith(PNG)


def test_measured_points_lie_on_the_predicted_lines(model: Model) -> None:
    types = ["f16", "q8_0", "q4_0"]
    (axes,) = plots.kv_sizes(model, n_ctx=[128, 512], types=types).axes
    lines = axes.get_lines()
    for name, line, points in zip(types, lines[0:6:2], lines[1:6:2], strict=True):
        slope = line.get_ydata()[-1] / 512  # a line through the origin
        assert line.get_ydata()[0] == 64 * slope
        assert list(points.get_xdata()) == [64, 128, 256]
        assert list(points.get_ydata()) == [slope * n for n in (64, 128, 256)]
        with Context(model, ContextParams(n_ctx=64, kv_cache_type=name)) as context:
            context.evaluate("abc")
            assert context.kv_bytes() == slope * context.token_count()
    assert "measured" in words(axes.figure)


def test_sizes_are_checked(model: Model) -> None:
    with pytest.raises(ParameterError, match="n_ctx"):
        plots.kv_sizes(model, n_ctx=[])
    with pytest.raises(ParameterError, match="f17"):
        plots.kv_sizes(model, types=["f17"])


def test_probabilities_are_those_of_the_answer(chat: Chat) -> None:
    turn = chat.turns[-1]
    (axes,) = plots.token_probabilities(turn).axes
    (bars,) = axes.containers
    assert [bar.get_height() for bar in bars] == [100 * math.exp(p) for p in turn.logprobs]
    assert len(axes.get_xticklabels()) == len(turn.logprobs)
    with pytest.raises(ParameterError, match="not generated"):
        plots.token_probabilities(chat.turns[-2])


@pytest.mark.slow
def test_surprisal_is_that_of_the_turn(chat: Chat) -> None:
    for turn in chat.turns:
        for by, nats in (("surprisal", turn.surprisal), ("entropy", turn.entropy)):
            figure: Any = plots.surprisal(turn, by=by)  # type: ignore[arg-type]
            (axes,) = figure.axes
            (bars,) = axes.containers
            heights = [bar.get_height() for bar in bars]
            assert heights == np.nan_to_num(nats).tolist()
            assert words(figure)[2] == f"{by} (nats)"
            assert f"mean {np.nanmean(nats):.2f}" in [text.get_text() for text in axes.texts]
            labels = [label.get_text() for label in axes.get_xticklabels()]
            assert len(labels) == len(turn.tokens)
            assert all(label and label == signs(label) for label in labels)
            assert figure._repr_png_().startswith(PNG)
            assert [label.get_text() for label in axes.get_xticklabels()] == labels
    answer = chat.turns[-1]
    assert f"perplexity {answer.perplexity():.1f}" in words(plots.surprisal(answer))[0]
    with pytest.raises(ParameterError, match="'surprisal', 'entropy'"):
        plots.surprisal(answer, by="size")  # type: ignore[arg-type]


def test_a_long_message_has_no_texts_below(model: Model) -> None:
    chat = Chat(model, n_ctx=256, n_threads=1)
    chat.ask("a" * 80, max_tokens=1)
    (axes,) = plots.surprisal(chat.turns[-2]).axes
    assert len(axes.containers[0]) > 48
    assert len(axes.get_xticks()) < 48
    chat.tree.checkout("ROOT")
    chat.context.evaluate([20])
    with pytest.raises(ParameterError, match="no tokens"):
        plots.surprisal(Turn(chat, chat.tree.commit(role="user", message={"content": "a"})))


def test_what_a_model_writes_is_no_mathematics(model: Model) -> None:
    chat = Chat.from_messages(model, [{"role": "user", "content": "a"}], n_ctx=64, n_threads=1)
    turn = chat.resume(max_tokens=1) if chat.turns[-1].role == "assistant" else None
    turn = turn or chat.ask("b", max_tokens=1)
    turn = chat.fork(turn, token=0, choose="$\\frac$", max_tokens=1)
    assert plots.token_probabilities(turn)._repr_png_().startswith(PNG)


def test_figures_are_clear_and_change_no_settings(chat: Chat) -> None:
    before = dict(mpl.rcParams)
    figure: Any = plots.kv_growth(chat.tree)
    assert figure._repr_png_().startswith(PNG)
    assert figure.patch.get_alpha() == 0
    assert figure.axes[0].patch.get_alpha() == 0
    assert dict(mpl.rcParams) == before


@pytest.mark.slow
def test_matplotlib_waits_until_a_figure_is_drawn() -> None:
    code = "import sys, mullama_nb.plots; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def all_words(figure: Any) -> str:
    """Every text in a figure."""
    texts = [text for axes in figure.axes for text in axes.texts]
    legend = [text for each in figure.legends for text in each.texts]
    labels = [axes.get_xlabel() for axes in figure.axes]
    said = [text.get_text() for text in (*texts, *legend)]
    return "\n".join([figure.get_suptitle(), *labels, *said])


@pytest.mark.slow
def test_cells_are_those_of_the_context(chat: Chat) -> None:
    figure: Any = plots.cell_map(chat)
    said = all_words(figure)
    n = chat.context.token_count()
    assert said.startswith(f"{n} of 256 cells")
    grid, strips = figure.axes
    cells = chat.tree.cells()
    shown = [text.get_text() for text in grid.texts]
    assert [text for text in shown if text.isdecimal()][-1] == str(n - 1)
    (boxes,) = grid.collections
    more = int(grid.get_xlabel().split()[0].replace(",", ""))
    assert len(boxes.get_paths()) + more == 256
    pieces, *_ = strips.collections  # a line marks what was evaluated again
    widths = [path.get_extents().width for path in pieces.get_paths()]
    assert sum(widths) == pytest.approx(cells.n_tokens, abs=0.25 * len(widths))
    assert "kept in memory" in said
    assert "chat template" in said
    assert plots.cell_map(cells)._repr_png_() == figure._repr_png_()


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 300, 3000])
def test_cells_are_told_apart_in_any_number(tiny: Callable[..., Model], n: int) -> None:
    model = tiny("llama", n_ctx=4096)
    with Context(model, ContextParams(n_ctx=4096, n_threads=2)) as context:
        tree = CheckpointTree(context)
        context.evaluate([20 + i % 200 for i in range(n)])
        tree.commit(role="user")
        figure: Any = plots.cell_map(tree)
        (axes,) = figure.axes
        width, height = axes.bbox.width, axes.bbox.height
        columns = axes.get_xlim()[1]
        assert width / columns > 4  # points for a cell
        assert figure.get_size_inches()[1] < 8
        assert height > 0
        assert figure._repr_png_().startswith(PNG)


def test_a_state_has_no_cells(tiny: Callable[..., Model]) -> None:
    chat = Chat(tiny("mamba", chat_template=CHATML), n_ctx=128, n_threads=1)
    assert all_words(plots.cell_map(chat)).startswith("0 of 128 tokens, read into one state")
    chat.ask("a", max_tokens=2)
    assert "there are no cells" in all_words(plots.cell_map(chat))


def test_what_stands_in_cells_is_no_mathematics(model: Model) -> None:
    chat = Chat.from_messages(
        model, [{"role": "user", "content": "$\\frac$ 漢字 \u202e"}], n_ctx=128, n_threads=1
    )
    assert plots.cell_map(chat)._repr_png_().startswith(PNG)
