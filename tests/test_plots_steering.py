"""The figure of a steering shows its effect, whatever the order of its scales."""

from __future__ import annotations

import numpy as np
import pytest

from mullama_nb import plots
from mullama_nb.errors import ParameterError
from mullama_nb.steering import Effect

EFFECT = Effect((1.0, -1.0, 0.0), (" _up", " $\\down$\n"), np.array([[-1, -5], [-3, -2], [-2, -4]]))


@pytest.mark.parametrize("at", [None, 0.5])
def test_a_line_for_each_text_from_the_least_scale_to_the_greatest(at: float | None) -> None:
    figure = plots.steering(EFFECT, at=at)
    (axes,) = figure.axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert [list(line.get_xdata()) for line in lines] == [[-1, 0, 1]] * 2
    assert [list(line.get_ydata()) for line in lines] == [[-3, -2, -1], [-2, -4, -5]]
    assert [text.get_text() for text in axes.get_legend().texts] == ["“_up”", "“$\\down$·”"]
    marks = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2]
    assert marks == [0, *([] if at is None else [at])]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_mark_is_a_number() -> None:
    with pytest.raises(ParameterError, match="at must be a number"):
        plots.steering(EFFECT, at="1")  # type: ignore[arg-type]
