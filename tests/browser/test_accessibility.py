"""axe-core over every widget, in each of its states, in both themes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser.axe import findings
from browser.lab import PATIENCE, LabServer, Notebook
from browser.test_thoughts import BEGIN
from browser.themes import THEMES, least_contrast, use_theme
from playwright.sync_api import BrowserContext, Locator, Page, expect

from mullama_nb import widgets

IMPORTS = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from IPython.display import HTML, display
from mullama_nb import ContextParams, SessionManager
from mullama_nb.history.events import TokenAdded
from mullama_nb.widgets import *
from tiny_models import CHATML, make_model

def talk(n_ctx=1024, **options):
    return Chat("tiny.gguf", n_ctx=n_ctx, n_threads=1, seed=1, max_tokens=6, **options)

def say(chat, *pieces):  # as if the model were saying it now
    for piece in pieces:
        chat.tree._workspace.notify(TokenAdded(1, piece, -1.0))
"""
WIDE = " + ".join(r"\frac{1}{2}" for _ in range(60))
CELLS = " | ".join("one of the stations" for _ in range(12))
RICH = f"""# Depths

See [the chart](https://example.org/sea), `depth` and $x^2$.

1. one
2. two

> as they say

```python
def depth(sea):  # in metres
    return {" + ".join(["fathoms"] * 30)!r}
```

```diff
- a
+ b
```

| {CELLS} |
| {" | ".join(["---"] * 12)} |
| {CELLS} |

\\[{WIDE}\\]
"""


def call(number: int, **arguments: object) -> dict[str, object]:
    function = {"name": "depth", "arguments": arguments}
    return {"id": f"call0000{number}", "type": "function", "function": function}


LONG = {f"field {n}": "x" * 9 for n in range(30)}
SAID = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How deep is the Baltic?"},
    {
        "role": "assistant",
        "content": "",
        "reasoning_content": "I should look it up.\n\n" * 20,
        "tool_calls": [call(1, sea="Baltic"), call(2, **LONG)],
    },
    {"role": "tool", "name": "depth", "tool_call_id": "call00001", "content": "459 m\n" * 20},
    {"role": "assistant", "content": RICH, "reasoning_content": "The tool says 459."},
]
# What is shown, one cell each.
SHOWN = {
    "view": f"""
chat = Chat.from_messages("tiny.gguf", {SAID!r}, chat_template=TEMPLATE, n_ctx=16384, n_threads=1)
chat""",
    "tree": """
small = talk()
for text in ("What is a tide?", "And a wave?", "And rain?"):
    small.ask(text, echo=False)
small.fork(small.turns[-1], token=2, choose=7)
small.tag("rain")
small.checkout(small.turns[1])
small.ask("And a storm?", echo=False)
small.tree.spill(small.tree["rain"])
display(Timeline(small), UndoRedo(small), KVPlot(small), CellMap(small))""",
    "compared": "display(Timeline(small), Timeline(small), Timeline(small))",
    "tokens": """
panel = ChatPanel(small)
at = {"checkpoint": small.head.id}
for action, more in {"tokens": {}, "entropy": {}, "choice": {"token": 2}}.items():
    panel.handle(action, at | more)
panel""",
    "refused": """
filled = talk(96)
filled.ask("Why?", max_tokens=None, echo=False)
refused, torn = ChatPanel(filled), Timeline(filled)
refused._receive({"kind": "do", "action": "ask", "text": "word " * 300}, [])
torn.error = "no checkpoint is called snaw"
display(refused, ChatPanel(filled), torn)""",
    "standing": """
asked = talk()
asked.explore("Which one?", 3)
ChatPanel(asked)""",
    "explored": """
tried = talk()
explorer = Explorer(tried)
answers = tried.explore("Which one?", vary={"max_tokens": [9, 3, 5]}, temperature=1.5)
answers[1].keep()
tried.tree.prune(answers[2].checkpoint)
display(explorer, answers)""",
    "lens": """
lens, stateless = Lens(small), Chat.from_messages(
    make_model(Path("mamba.gguf"), "mamba", chat_template=CHATML),
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Good day!"}],
    n_ctx=256, n_threads=1)
without = Lens(stateless)
for each in (lens, without):
    each.handle("choose", {"token": 9})
    each.handle("look", {})
display(lens, without)""",
    "likely": """
idle = talk()
idle.ask("Which one?", echo=False)
old = Likely(idle, depth=3, min_p=0.0, width=2)
chosen = Choice(idle, 2)
for each in (old, chosen):
    each.look()
    each.follows = False
old.refresh()
idle.ask("And then?", echo=False)
display(old, chosen, Likely(small, depth=3, min_p=0.0, width=2), Choice(small, 2),
        Likely(small, min_p=1.0))""",
    "sessions": """
other = ContextParams(n_ctx=512, n_threads=1, kv_cache_type="bf16")
SessionManager(small.model, "desk", other).create_session("packed (old)", "A clerk by the sea.")
small.save("tides", folder="desk")
display(SessionBrowser("desk", small), SessionBrowser("nothing", small))""",
    "growing": """
grows, explored = talk(), talk()
grows.ask("Hi", echo=False)
growing = ChatPanel(grows)
growing.pending = "And fog?"
display(growing, Timeline(grows), KVPlot(grows), CellMap(grows), Explorer(explored))
say(grows, "The ", "tide")""",
    "saved": """
saved = ChatPanel(tried), Timeline(small), KVPlot(small), CellMap(small)
for each in (*saved, explorer, lens, old, chosen):
    display(HTML(each.to_html()))""",
    "cards": """
turn = small.turns[-1]
display(small.model, small.context, turn, turn.checkpoint, small.tree, small.tree.kv_bytes,
        lens.look, turn.choice(1), small.likely(2, width=2), small.compare("HEAD", "rain"))""",
    "empty": """
empty = talk()
display(empty, KVPlot(empty), CellMap(empty), Lens(empty), Likely(empty), Choice(empty),
        Explorer(empty))""",
}
OUTPUTS = ".jp-Notebook .jp-OutputArea :is(.mullama, .jp-RenderedHTMLCommon)"


@pytest.fixture(scope="module")
def desk(browser: BrowserContext, lab: LabServer) -> Iterator[Notebook]:
    """All of it in one page, with open what a click leaves open."""
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    opened = Notebook.write(page, lab, [BEGIN + IMPORTS, *SHOWN.values()], name="desk.ipynb")
    opened.run()
    page.set_viewport_size({"width": 1280, "height": 20_000})  # what is out of sight is not read
    page.locator(f"{OUTPUTS} details").evaluate_all(
        "all => all.forEach((each) => each.open = true)"
    )
    open_editor(opened)
    open_sheets(opened)
    place(opened, "refused").get_by_role("alert").filter(has_text="cells").wait_for()
    place(opened, "tree").get_by_role("button", name="Steps").click()
    place(opened, "sessions").get_by_role("button", name="Delete tides").click()
    yield opened
    opened.shut_down()
    page.close()


def place(desk: Notebook, name: str) -> Locator:
    return desk.area(1 + list(SHOWN).index(name))


def open_editor(desk: Notebook) -> None:
    first = place(desk, "view").locator("article").nth(1)
    first.hover()
    first.get_by_label("Edit this message").click()


def open_sheets(desk: Notebook) -> None:
    """A search, a comparison, and the questions before a prune and for a tag."""
    timelines = place(desk, "compared").locator(".mullama")
    timelines.nth(0).get_by_role("searchbox").fill("and")
    other = place(desk, "tree").get_by_role("treeitem").first
    for n, key in enumerate(("c", "t")):
        timelines.nth(n).locator(f"[data-id='{other.get_attribute('data-id')}']").focus()
        desk.page.keyboard.press(key)
    timelines.nth(2).locator("[aria-selected=true]").focus()
    desk.page.keyboard.press("Delete")
    expect(timelines.nth(0).get_by_role("dialog")).to_be_visible()
    expect(timelines.nth(1).get_by_role("dialog")).to_be_visible()
    expect(timelines.nth(2).get_by_role("alertdialog")).to_be_visible()


def open_menu(desk: Notebook) -> Locator:
    place(desk, "view").locator("[aria-selected=true]").focus()
    desk.page.keyboard.press("m")
    return place(desk, "view").locator(".mullama-menu")


def open_card(desk: Notebook) -> Locator:
    place(desk, "view").locator("[aria-selected=true]").focus()
    desk.page.keyboard.press("Space")
    return place(desk, "view").locator(".mullama-card")


def open_options(desk: Notebook) -> Locator:
    place(desk, "view").get_by_role("button", name="Sampling").click()
    return place(desk, "view").get_by_role("dialog", name="Sampling")


def open_presets(desk: Notebook) -> Locator:
    place(desk, "view").get_by_role("button", name="Temperature").click()
    return place(desk, "view").get_by_role("dialog", name="Temperature")


def test_every_widget_is_there(desk: Notebook) -> None:
    shown = desk.evaluate(
        "[each.__class__.__name__ for each in"
        " list(__import__('ipywidgets').widgets.widget._instances.values())]"
    )
    assert set(widgets.__all__) <= set(shown)
    for name in SHOWN.keys() - {"cards"}:
        expect(place(desk, name).locator(".mullama").first).to_be_visible()


@pytest.mark.parametrize("theme", THEMES)
def test_nothing_in_a_widget_keeps_anybody_out(desk: Notebook, theme: str) -> None:
    use_theme(desk.page, theme)
    assert findings(desk.page.locator(OUTPUTS)) == ""
    for root in desk.page.locator(".jp-Notebook .mullama:not(.mullama .mullama)").all():
        contrast, text = least_contrast(root)  # where axe-core is not sure of it
        assert contrast >= 4.5, text


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("open_it", [open_menu, open_card, open_options, open_presets])
def test_nor_in_what_is_opened(
    desk: Notebook, theme: str, open_it: Callable[[Notebook], Locator]
) -> None:
    use_theme(desk.page, theme)
    shown = open_it(desk)
    expect(shown).to_be_visible()
    assert findings(shown) == ""
    contrast, text = least_contrast(shown)
    assert contrast >= 4.5, text
    desk.page.keyboard.press("Escape")
    expect(shown).to_be_hidden()


@pytest.mark.parametrize("theme", [*THEMES, "JupyterLab Dark High Contrast"])
def test_words_can_be_read_on_each_ground(desk: Notebook, theme: str) -> None:
    use_theme(desk.page, theme)
    root = place(desk, "empty").locator(".mullama").first
    root.evaluate(
        """root => {
          const probe = root.appendChild(document.createElement('div'));
          probe.className = 'probe';
          for (const word of ['ink', 'muted', 'accent', 'error']) {
            for (const ground of ['paper', 'hover']) {
              const style = `color: var(--m-${word}); background: var(--m-${ground})`;
              const said = probe.appendChild(document.createElement('span'));
              said.style = style;
              said.append(style);
            }
          }
        }"""
    )
    contrast, style = least_contrast(root.locator(".probe"))
    root.locator(".probe").evaluate("probe => probe.remove()")
    assert contrast >= 4.5, style


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nor_in_a_chat_as_a_page(desk: Notebook, page: Page, lab: LabServer, scheme: str) -> None:
    desk.evaluate("chat.to_html('desk.html')")
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto((lab.root / "desk.html").as_uri())
    assert findings(page.locator("html")) == ""
