"""Picture the widgets in a real JupyterLab, and the page of a suite, into build/screenshots.

Those that README and site show go to docs/pictures, too. ``python tools/screenshots.py pages``
makes these alone, and ``suites`` those of the page of a suite.
"""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tour import make_tour

from mullama_nb.testing import Case, Suite, contains, likelier

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
lab: Any = importlib.import_module("browser.lab")

_TARGET = ROOT / "build" / "screenshots"
_PAGES = ROOT / "docs" / "pictures"
_SHOWN_BY_PAGES = {  # those of docs/pictures, by the pictures that they are
    "chat-light": "chat",
    "chat-dark": "chat-dark",
    "cells-30-light": "cells",
    "choice-steps-light": "choice",
    "lens-light": "lens",
    "likely-light": "likely",
    "suite-compared-light": "suite",
    "tree-light": "tree",
}
_IMPORTS = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from browser.large_tree import grow
from mullama_nb import Chat, ContextParams, Model, SessionManager
from mullama_nb.widgets import (
    CellMap, ChatPanel, Choice, Explorer, KVPlot, Lens, Likely, SessionBrowser, Timeline
)
model = Model.load("smollm2")

def made(n):
    chat = Chat(model, n_ctx=2048)
    grow(chat, n)
    return chat
"""
_TALK = """
talk = Chat(model, system="Answer in one short sentence.", n_ctx=1024, seed=1)
talk.ask("What is a good hobby for a rainy day?", max_tokens=32, echo=False)
talk.ask("And for a sunny day?", max_tokens=32, echo=False)
talk.regenerate(max_tokens=32, echo=False)
"""
_TOOLS = '''
TEMPLATE = """{% for m in messages %}<|im_start|>{{ m.role }} {{ m.name or "" }}
{% if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>
{{ call.function | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is not false %}<think>
{% endif %}{% endif %}"""

def call(number, name, **arguments):
    function = {"name": name, "arguments": arguments}
    return {"id": f"call0000{number}", "type": "function", "function": function}

stations = {f"station {n}": [n, n + 1] for n in range(1, 12)}
Chat.from_messages(model, [
    {"role": "developer", "content": "Answer with figures."},
    {"role": "user", "content": "How deep is the Baltic, and how warm is it?"},
    {"role": "assistant", "content": "I shall look both up.",
     "reasoning_content": "Two things are asked for:\\n\\n1. the depth\\n2. the **warmth**",
     "tool_calls": [call(1, "depth", sea="Baltic", unit="m"), call(2, "warmth", **stations)]},
    {"role": "tool", "name": "depth", "tool_call_id": "call00001", "content": \'{"metres": 459}\'},
    {"role": "tool", "name": "warmth", "tool_call_id": "call00002", "content": "8 degrees"},
    {"role": "assistant", "content": "It is 459 m deep and has 8 degrees.",
     "reasoning_content": "Both have come back."},
], chat_template=TEMPLATE, chat_template_kwargs={"enable_thinking": False}, n_ctx=2048)
'''
_ERROR = "broken = Timeline(talk); broken.error = 'no checkpoint is called snaw'; broken"
_SESSIONS = """
manager = SessionManager(model, "saved", ContextParams(n_ctx=512, kv_cache_type="q8_0"))
manager.create_session("packed (old)", "A clerk by the sea.")
talk.save("rainy days", folder="saved")
SessionBrowser("saved", talk)
"""
_LENS = """
lens = Lens(talk)
lens.handle("choose", {"token": talk.head.stop - 3})
lens.handle("look", {})
lens
"""
_LENS_LONG = """
story = [{"role": "user", "content": "The tide comes in at six. " * 400},
         {"role": "assistant", "content": "It goes out at noon."}]
Lens(Chat.from_messages(model, story, n_ctx=4096))
"""
_LENS_WITHOUT_ATTENTION = """
from pathlib import Path
from tiny_models import CHATML, make_model
path = make_model(Path("mamba.gguf"), "mamba", chat_template=CHATML)
Lens(Chat.from_messages(path, story[1:], n_ctx=256))
"""
_LENS_ERROR = (
    "torn = Lens(talk); torn.error = 'the look was stopped; the context is as it was'; torn"
)
_EXPLORER = """
panel = Explorer(talk)
talk.explore("Name one more.", 3, max_tokens=24)
panel
"""
_LIKELY = """
river = Chat(model, system="Answer in one short sentence.", n_ctx=1024, seed=1)
begun = river.ask("Which river is the longest?", max_tokens=24, echo=False)
Likely(river, at=begun, token=0, min_p=0.07)
"""
_LIKELY_ERROR = """
full = Chat(model, n_ctx=64, seed=1)
full.ask("What is a good hobby for a rainy day in a town by the sea?", max_tokens=24, echo=False)
Likely(full, depth=32)
"""
_STEPS = """
wild = Chat(model, n_ctx=1024, seed=3)
said = wild.ask("Tell me of a fox.", max_tokens=40, temperature=1.3, repetition_penalty=1.4,
                top_k=200, xtc_probability=0.5, echo=False)
Choice(said, 12)
"""
_TOKENS = """
tokens = ChatPanel(talk)
tokens.handle("tokens", {"checkpoint": talk.head.id})
tokens.handle("entropy", {"checkpoint": talk.head.id})
tokens.handle("choice", {"checkpoint": talk.head.id, "token": 3})
tokens
"""
_CELL = """
one = Chat(model, n_ctx=64)
one.context.evaluate("a")
one.tree.commit()
CellMap(one)
"""
_CELLS = """
river = Chat(model, system="Be brief.", n_ctx=128, seed=1)
river.ask("Name a river.", max_tokens=8, echo=False)
river.regenerate(max_tokens=8, echo=False)
CellMap(river)
"""
_LONG = """
long = Chat(model, n_ctx=4096)
while long.context.token_count() < 3000:
    long.context.evaluate(f"Day {len(long.tree)}: the sea rises and falls with the moon. " * 20)
    long.tree.commit(role=("user", "assistant")[len(long.tree) % 2])
CellMap(long)
"""
_GROWING = """
import threading, time
asked = Chat(model, system="Be brief.", n_ctx=512, seed=1)
cells = CellMap(asked)
said = []
slowly = {"max_tokens": 40, "on_token": lambda *_: said.append(time.sleep(0.05))}
threading.Thread(target=asked.explore, args=("Name a river.", 8), kwargs=slowly).start()
while len(said) < 80:
    time.sleep(0.1)
cells
"""
_FULL = """
filled = Chat(model, n_ctx=64, seed=1)
filled.ask("Tell me everything about rivers.", echo=False)
CellMap(filled)
"""
_TREE = """
from pathlib import Path
from IPython.display import HTML
teacher = "You are a friendly teacher. Answer in one sentence."
lesson = Chat(model, teacher, n_ctx=2048, temperature=0.4, seed=7)
lesson.ask("Why is the sky blue?", max_tokens=48, echo=False)
lesson.tree.tag("intro")
lesson.ask("And at sunset?", max_tokens=40, echo=False)
lesson.checkout("intro")
lesson.regenerate(max_tokens=48, echo=False)
lesson.explore("Give me a title for a lesson about it.", 3, max_tokens=24)[0].keep()
lesson.tree.tag("lesson")
lesson.ask("Now a first sentence, please.", max_tokens=24, echo=False)
lesson.tree.to_svg("tree.svg")
HTML(f'<div class="mullama">{Path("tree.svg").read_text()}</div>')
"""
_SPILLED = """
river.tree.spill(river.head.siblings[0])
CellMap(river)
"""
_SHOWN = {
    "timeline-empty": "Timeline(made(0))",
    "timeline-1": "Timeline(made(1))",
    "timeline-10": "Timeline(made(10))",
    "timeline-1000": "forest = made(1000)\nTimeline(forest)",
    "timeline-error": _ERROR,
    "chat": "talk",
    "tree": _TREE,
    "kv-plot": "KVPlot(talk)",
    "cells-empty": "CellMap(Chat(model, n_ctx=64))",
    "cells-1": _CELL,
    "cells-30": _CELLS,
    "cells-3000": _LONG,
    "cells-tree": "CellMap(forest)",
    "cells-growing": _GROWING,
    "cells-full": _FULL,
    "cells-spilled": _SPILLED,
    "sessions": _SESSIONS,
    "explorer": _EXPLORER,
    "tools": _TOOLS,
    "likely": _LIKELY,
    "likely-deep": "Likely(talk, at=talk.head, token=0, depth=5, min_p=0.1)",
    "likely-empty": "Likely(made(0))",
    "likely-error": _LIKELY_ERROR,
    "choice": "Choice(talk.turns[-1], 3)",
    "choice-steps": _STEPS,
    "choice-greedy": "Choice(talk.ask('Why?', max_tokens=8, temperature=0, echo=False), 1)",
    "choice-empty": "Choice(made(0))",
    "tokens": _TOKENS,
    "lens": _LENS,
    "lens-long": _LENS_LONG,
    "lens-without-attention": _LENS_WITHOUT_ATTENTION,
    "lens-error": _LENS_ERROR,
}


_GREEDY = {"n_ctx": 512, "max_tokens": 32, "temperature": 0.0}


def main() -> None:
    """Make a picture of each state in each theme."""
    chromium = lab.chromium_path()
    if chromium is None:
        raise SystemExit("There is no chromium to make screenshots with: see tools/chromium.py")
    _TARGET.mkdir(parents=True, exist_ok=True)
    for_pages = sys.argv[1:] == ["pages"]
    _picture_suites(chromium)
    if sys.argv[1:] == ["suites"]:
        return
    for theme in ("Light", "Dark"):
        with tempfile.TemporaryDirectory() as folder:
            server = lab.LabServer(Path(folder) / "lab", theme=f"JupyterLab {theme}")
            try:
                if theme == "Light":
                    _film(server, chromium)
                _picture(server, chromium, theme.lower(), for_pages)
            finally:
                server.close()


def _keep(path: Path) -> None:
    """Say that a picture is made, and give it to the pages that show it."""
    print(path.relative_to(ROOT), flush=True)
    if path.stem in _SHOWN_BY_PAGES:
        shutil.copyfile(path, _PAGES / f"{_SHOWN_BY_PAGES[path.stem]}.png")


def _film(server: Any, chromium: Path) -> None:
    with lab.open_browser(chromium) as browser:
        opened = []

        def open_notebook(cells: Sequence[str]) -> Any:
            notebook = lab.Notebook.write(browser.new_page(), server, cells, name="tour.ipynb")
            opened.append(notebook)
            return notebook

        make_tour(open_notebook, _PAGES / "tour.gif")
        opened[0].shut_down()


def _suite(*changes: dict[str, Any]) -> Suite:
    cases = [
        Case("Which city is the capital of France?", [contains("Paris")], name="capital"),
        Case("Name a river in one sentence.", [contains("river")], name="river"),
        Case(
            "Which is larger, a cat or a whale?", [likelier("A whale", than="A cat")], name="size"
        ),
    ]
    settings = [_GREEDY | change for change in changes]
    return Suite(cases, ["smollm2"], settings, name="everyday")


def _picture_suites(chromium: Path) -> None:
    """The page of a result and of a comparison, with the field opened that is told first."""
    plain, coarse = {"name": "plain"}, {"name": "coarse"}
    before = _suite(plain, coarse | {"kv_cache_type": "q8_0"}).run(progress=False)
    after = _suite(plain, coarse | {"kv_cache_type": "q4_0"}).run(progress=False)
    shown: dict[str, Any] = {"suite": before, "suite-q4": after}
    shown["suite-compared"] = before.compare(after)
    with tempfile.TemporaryDirectory() as folder, lab.open_browser(chromium) as browser:
        page = browser.new_page()
        page.set_viewport_size({"width": 900, "height": 900})
        for name, value in shown.items():
            path = value.to_html(Path(folder) / f"{name}.html")
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme)
                page.goto(path.as_uri())
                telling = page.locator(".field > a.bad, .field > a.warn")
                (telling if telling.count() else page.locator(".field > a")).first.click()
                target = _TARGET / f"{name}-{theme}.png"
                page.screenshot(path=target, full_page=True)
                _keep(target)


def _picture(server: Any, chromium: Path, theme: str, for_pages: bool) -> None:
    shown = {
        name: source
        for name, source in _SHOWN.items()
        if not for_pages or f"{name}-{theme}" in _SHOWN_BY_PAGES
    }
    with lab.open_browser(chromium) as browser:
        cells = [_IMPORTS, _TALK, *shown.values()]
        notebook = lab.Notebook.write(browser.new_page(), server, cells)
        notebook.run(0, 1)
        for index, name in enumerate(shown, start=2):
            notebook.run(index, timeout=300)
            area = notebook.area(index)
            area.locator(".mullama").first.wait_for()
            notebook.page.wait_for_timeout(500)  # widgets hear of what a cell did a bit later
            path = _TARGET / f"{name}-{theme}.png"
            area.screenshot(path=path)
            _keep(path)
            folded = area.locator("details")
            if folded.count():
                folded.evaluate_all("all => all.forEach((each) => { each.open = true; })")
                area.screenshot(path=_TARGET / f"{name}-open-{theme}.png")
        notebook.shut_down()


if __name__ == "__main__":
    main()
