"""Where JupyterLab drops what it does not trust, every value reads as lines and cells."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import nh3
import pytest
from conftest import ModelMaker
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tiny_models import CHATML

import mullama_nb
from mullama_nb import Chat, steering, widgets
from mullama_nb.sessions.store import SessionStore
from mullama_nb.testing import (
    Case,
    Suite,
    check,
    contains,
    record,
    replay,
    replay_all,
)
from mullama_nb.widgets.markdown import render_markdown
from mullama_nb.widgets.pictures import formulas_or_tex

# What JupyterLab's Sanitizer keeps (@jupyterlab/apputils); of the content of other elements only
# that of scripts and styles goes.
KEPT = """
a abbr acronym address area article aside audio b bdi bdo big blockquote br button canvas caption
center cite code col colgroup colspan command data datalist dd del details dfn dir div dl dt em
fieldset figcaption figure font footer form h1 h2 h3 h4 h5 h6 header hgroup hr i img input ins kbd
label legend li map mark menu meter nav nobr ol optgroup option output p pre progress q rowspan s
samp section select small source span strike strong sub summary sup table tbody td textarea tfoot th
thead time tr track tt u ul var video wbr
"""
ANYWHERE = (
    "class data-jupyter-id dir draggable hidden id inert lang spellcheck style title translate"
)
BREAKING = """
address article aside blockquote br caption details dd div dl dt fieldset figcaption figure footer
form h1 h2 h3 h4 h5 h6 header hr li nav ol p pre section summary table tbody td tfoot th thead tr ul
"""
TAG = re.compile(r"""</?(\w+)(?:"[^"]*"|'[^']*'|[^>"'])*>""")
EMPTY = {"area", "br", "col", "hr", "img", "input", "source", "track", "wbr"}


def sanitized(html: str) -> str:
    """What JupyterLab shows of the HTML in a notebook that it does not trust.

    It drops an attribute without a value, ``hidden`` among them, and keeps the texts of pictures,
    which nh3 drops.
    """

    def kept(tag: re.Match[str]) -> str:
        return tag[0] if tag[1] in {*KEPT.split(), "script", "style"} else ""

    html = nh3.clean(
        TAG.sub(kept, html),
        tags={*KEPT.split()},
        clean_content_tags={"script", "style"},
        attributes={"*": {*ANYWHERE.split()}},
    )
    return html.replace(' hidden=""', "")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.lines = [""]
        self.kinds = set[str]()
        self._open = list[tuple[str, bool, bool]]()  # is hidden, is typed

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        is_typed = tag == "pre" or "white-space:pre" in (given.get("style") or "")
        if tag not in EMPTY:
            self._open.append((tag, "hidden" in given, is_typed))
        if tag in BREAKING.split() and not self._is_hidden:
            self.kinds.add(tag)
            self.lines.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass
        if tag in BREAKING.split():
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        if self._is_hidden:
            return
        first, *rest = data.split("\n") if any(typed for *_, typed in self._open) else [data]
        self.lines[-1] += first
        self.lines += rest

    @property
    def _is_hidden(self) -> bool:
        return any(hidden for _, hidden, _ in self._open)


def read(html: str) -> tuple[list[str], set[str]]:
    """The lines and cells that a reader sees, and the elements that they stand in."""
    reader = _Reader()
    reader.feed(html)
    return [line for line in map(str.strip, reader.lines) if line], reader.kinds


def texts_of_pictures(html: str) -> Iterator[list[str]]:
    """The texts that stand apart from each other in each SVG."""
    parts = html.split("<svg xmlns=")[1:]
    for part in parts:
        root = ElementTree.fromstring("<svg xmlns=" + part[: part.rindex("</svg>")] + "</svg>")
        texts = root.iter("{http://www.w3.org/2000/svg}text")
        yield [words for text in texts if (words := "".join(text.itertext()).strip())]


def classes_with_html() -> set[type]:
    """Every class of the package that says itself how a page shows it."""
    found = {getattr(widgets, name) for name in widgets.__all__}
    for module in pkgutil.walk_packages(mullama_nb.__path__, "mullama_nb."):
        if module.name.rpartition(".")[2] != "__main__":
            members = inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
            found |= {kind for _, kind in members if "_repr_html_" in vars(kind)}
    return {kind for kind in found if kind.__module__.startswith("mullama_nb.")}


@pytest.fixture(scope="module")
def values(tiny: ModelMaker, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """One value of each class, as people get it."""
    folder = tmp_path_factory.mktemp("untrusted")
    model = tiny("llama", chat_template=CHATML)
    chat = Chat(model, "Be brief.", seed=1, n_ctx=512, n_threads=1)
    turn = chat.ask("<b>Why</b>?\nAnd how?", max_tokens=6)
    chat.fork(turn, token=2, max_tokens=3)
    chat.tag("a tag")
    answers = chat.explore("Which?", 2, max_tokens=3)
    turn = answers[0].keep()
    steps = [*chat.steps("Step by step?", max_tokens=2)]
    chat.save("saved", folder / "store")
    store = SessionStore(folder / "store")
    cells = chat.tree.cells()
    path = folder / "one.mullama.json"
    record(chat, path)
    suite = Suite([Case("Say hello.", [contains("x")], max_tokens=3)], [model], name="small")
    result = suite.run()
    direction = steering.contrast(model, ["one two"], ["two one"])
    shown: list[Callable[[Chat], object]] = [
        getattr(widgets, name) for name in widgets.__all__ if name != "SessionBrowser"
    ]
    made = [kind(chat) for kind in shown]
    for widget in made:
        if isinstance(widget, widgets.Likely | widgets.Choice):
            widget.look()
    return [
        *(turn, answers, chat.tree, chat.head, chat.model, chat.context, steps[0], chat),
        *(chat.tree.diff(answers[0].checkpoint, answers[1].checkpoint), chat.tree.kv_bytes()),
        *(chat.tree.memory, cells, cells.strips[0], chat.likely(), turn.choice(1)),
        *(chat.context.look(), store.entries()[0], direction),
        direction.effect(model, "one", [" two", " one"], [0, 1]),
        *(replay(path, model), replay_all([path], model), check(40, 42, hint="Count.")),
        *(result, result.compare(result), widgets.SessionBrowser(folder / "store"), *made),
    ]


def html_of(value: object) -> str:
    bundle = getattr(value, "_repr_mimebundle_", None)
    if bundle is None:
        return str(value._repr_html_())  # type: ignore[attr-defined]
    data = bundle()
    return str((data[0] if isinstance(data, tuple) else data)["text/html"])


@pytest.mark.slow
def test_every_value_reads_as_lines_and_cells(values: list[object]) -> None:
    seen = {kind for value in values for kind in type(value).__mro__}
    assert classes_with_html() - seen == set()
    n_pictures = 0
    for value in values:
        html = html_of(value)
        lines, kinds = read(sanitized(html))
        name = type(value).__name__
        assert lines, name
        assert not any("{display:" in line for line in lines), name
        for texts in texts_of_pictures(html):
            n_pictures += 1
            assert kinds & {"table", "pre"}, name
            for one, other in pairwise(texts):
                assert not any(one + other in line for line in lines), name
    assert n_pictures >= 6


TEX = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="$\\") | st.just(" "))


@pytest.mark.slow
@given(tex=TEX.map(lambda tex: " ".join(tex.split())))
@example(tex="<img src=x onerror=hurt()>")
@example(tex="x^2 > 'y'")
def test_a_formula_reads_as_it_was_typed(tex: str) -> None:
    page = formulas_or_tex(render_markdown(f"a ${tex}$ b"))
    assume("<math" in page)
    assert "<img" not in re.sub('alttext="[^"]*"', "", page)
    lines, _ = read(sanitized(page))
    assert lines == [f"a {tex} b"]
