"""The cell map in JupyterLab: growth, clicks, keys, both themes, any number of cells."""

from __future__ import annotations

import re
from typing import Any

import pytest
from browser.lab import Notebook, Opener
from browser.test_widgets import CHAT
from browser.themes import use_theme
from playwright.sync_api import Locator, expect

FROM = "from mullama_nb.widgets import CellMap\n"
SHOW = FROM + "cells = CellMap(chat); cells"
LEFT, TOP = 6, 18  # pixels beside and above the cells, as in front_end/cell_place.js

# 1,000 branches of 100 cells, without a model's work: no rows, so all of it is dropped.
LARGE = """
from mullama_nb.history.kv_rows import LentRows
workspace, word = chat.tree._workspace, tuple(chat.context.model.tokenize("tide sea moon"))
for n in range(1000):
    tokens = (word * 100)[n % 3 :][:100]
    workspace.graft(chat.tree.root, tokens, {"role": "user"}, (), LentRows(None, 0, None))
"""
# The pause makes the answer last until it was looked at.
IN_THREAD = """
import threading, time
def slowly(*_): time.sleep(0.02)
asking = threading.Thread(target=chat.ask, args=("And rain?",),
                          kwargs={"max_tokens": 600, "on_token": slowly, "echo": False})
asking.start()
"""
EXPLORING = """
import threading, time
exploring = threading.Thread(target=chat.explore, args=("Which one?", 3),
    kwargs={"max_tokens": 60, "on_token": lambda *_: time.sleep(0.02)})
exploring.start()
"""


@pytest.fixture
def cells(notebook: Opener) -> Notebook:
    opened = notebook(CHAT, SHOW, SHOW.replace("cells = CellMap(chat); ", ""))
    opened.run()
    return opened


def sheet(opened: Notebook, area: int = 1) -> Locator:
    return opened.area(area).locator(".mullama-cells")


def said(opened: Notebook, area: int = 1) -> Locator:
    return opened.area(area).locator(".said")


def figures(opened: Notebook, area: int = 1) -> Locator:
    return opened.area(area).locator(".bar")


def width(opened: Notebook) -> float:
    """Pixels of a cell of the 1,024."""
    wide: int = sheet(opened).evaluate("node => node.scrollWidth")
    return (wide - 2 * LEFT) / 1024


def point(opened: Notebook, position: int) -> Any:
    """Where a cell of the first branch is on the screen, counted from the sheet's corner."""
    wide = width(opened)
    node = sheet(opened)
    node.evaluate("(node, left) => { node.scrollLeft = left; }", (position - 3) * wide)
    left = node.evaluate("node => node.scrollLeft")
    return {"x": LEFT + (position + 0.5) * wide - left, "y": TOP + 4}


def colour(opened: Notebook, x: float, y: float) -> list[int]:
    """A pixel of the sheet."""
    found: list[int] = sheet(opened).evaluate(
        """(node, [x, y]) => {
          const canvas = node.querySelector("canvas"), ratio = devicePixelRatio;
          return [...canvas.getContext("2d").getImageData(x * ratio, y * ratio, 1, 1).data];
        }""",
        [x, y],
    )
    return found


def test_a_click_checks_out_and_with_shift_branches_off(cells: Notebook) -> None:
    n, before = cells.evaluate("(chat.context.token_count(), chat.tree['HEAD~2'].stop)")
    expect(figures(cells)).to_contain_text(f"{n} of 1,024 cells")
    wanted = cells.evaluate("chat.tree['HEAD~2'].id")
    position = cells.evaluate("chat.tree['HEAD~2'].start + 1")
    sheet(cells).hover(position=point(cells, position))
    expect(said(cells)).to_contain_text(f"position {position}")
    expect(said(cells)).to_contain_text(wanted[:7])

    sheet(cells).click(position=point(cells, position))
    for area in (1, 2):
        expect(figures(cells, area)).to_contain_text(f"{before} of 1,024 cells")
    assert cells.evaluate("chat.head.id") == wanted

    sheet(cells).click(position=point(cells, position), modifiers=["Shift"])
    expect(figures(cells, 2)).to_contain_text(f"{position} of 1,024 cells")
    assert cells.evaluate("chat.tree.head.stop") == position


def test_keys_move_a_cursor_that_is_read_aloud(cells: Notebook) -> None:
    n = cells.evaluate("chat.context.token_count()")
    press = cells.page.keyboard.press
    sheet(cells).focus()
    press("ArrowLeft")
    expect(said(cells)).to_contain_text(f"position {n - 2}")
    expect(said(cells)).to_have_attribute("aria-live", "polite")
    press("Home")
    expect(said(cells)).to_contain_text("position 0")
    press("End")
    expect(said(cells)).to_contain_text(f"position {n - 1}")
    press("Home")
    for _ in range(3):
        press("ArrowRight")
    first = cells.evaluate("chat.tree.path()[0].stop")
    press("Enter")
    expect(figures(cells)).to_contain_text(f"{first} of 1,024 cells")
    press("Shift+Enter")
    expect(figures(cells)).to_contain_text("3 of 1,024 cells")
    assert cells.evaluate("chat.tree.head.stop") == 3

    wide = sheet(cells).evaluate("node => node.scrollWidth")
    press("-")
    cells.page.wait_for_function(
        "([node, wide]) => node.scrollWidth < wide",
        arg=[sheet(cells).element_handle(), wide],
    )
    press("+")
    cells.page.wait_for_function(
        "([node, wide]) => node.scrollWidth === wide",
        arg=[sheet(cells).element_handle(), wide],
    )


def test_cells_fill_while_an_answer_comes(notebook: Opener) -> None:
    opened = notebook(CHAT, SHOW, IN_THREAD, "cells")
    opened.run(0, 1)
    n = opened.evaluate("chat.context.token_count()")
    opened.run(2)
    used = figures(opened).locator("strong")
    opened.page.wait_for_function(
        "([node, n]) => Number(node.innerText) > n + 40", arg=[used.element_handle(), n]
    )
    assert opened.evaluate("asking.is_alive()")  # so it was drawn before there was a checkpoint
    opened.run(3)  # a view that comes later has what came before
    expect(figures(opened, 3)).not_to_contain_text(f"{n} of")
    opened.evaluate("chat.stop()")
    opened.wait_until("not asking.is_alive()")
    n = opened.evaluate("chat.context.token_count()")
    for area in (1, 3):
        expect(figures(opened, area)).to_contain_text(f"{n} of 1,024 cells")

    opened.evaluate("chat.undo() and None")
    left = opened.evaluate("chat.context.token_count()")
    expect(figures(opened)).to_contain_text(f"{left} of 1,024 cells")
    opened.evaluate("chat.redo() and None")
    expect(figures(opened)).to_contain_text(f"{n} of 1,024 cells")
    expect(figures(opened)).to_contain_text("0 tokens evaluated")


def test_several_answers_grow_side_by_side(notebook: Opener) -> None:
    opened = notebook(CHAT, SHOW, EXPLORING)
    opened.run()
    expect(figures(opened)).to_contain_text("3 branches")
    opened.wait_until("not exploring.is_alive()")
    n = opened.evaluate("chat.context.token_count()")
    expect(figures(opened)).to_contain_text(f"{n} of 1,024 cells, 3 branches")


def test_a_question_is_walked_through(cells: Notebook) -> None:
    n = cells.evaluate("chat.context.token_count()")
    area = cells.area(1)
    area.get_by_role("button", name="Steps").click()
    question = area.get_by_role("textbox", name="Question")
    expect(question).to_be_focused()
    question.fill("Which <b>one</b>?")
    stages = area.locator(".steps li")
    for count, name in enumerate(("tokenize", "prefix", "evaluate"), 1):
        area.get_by_role("button", name="Next step").click()
        expect(stages).to_have_count(count)
        expect(stages.last).to_contain_text(name)
    expect(figures(cells)).not_to_contain_text(f"{n} of")  # cells were filled
    expect(figures(cells, 2)).not_to_contain_text(f"{n} of")
    expect(question).to_be_disabled()
    cells.stop(1)
    expect(question).to_be_enabled()
    assert cells.evaluate("chat.messages[4]['content']") == "Which <b>one</b>?"
    sheet(cells).focus()
    cells.page.keyboard.press("u")
    expect(figures(cells)).to_contain_text(f"{n} of 1,024 cells")


def test_one_cell_and_a_hundred_thousand(notebook: Opener) -> None:
    opened = notebook(CHAT.partition("chat =")[0] + "chat = Chat('tiny.gguf', n_ctx=2048)", SHOW)
    opened.run()
    expect(figures(opened)).to_contain_text("0 of 2,048 cells")
    expect(said(opened)).to_contain_text("all cells are free")
    opened.evaluate("chat.context.evaluate('a') and chat.tree.commit() and None")
    expect(figures(opened)).to_contain_text(re.compile(r"\b[12] of 2,048 cells"))

    opened.evaluate(f"exec({LARGE!r})")
    expect(figures(opened)).to_contain_text(re.compile("1,00[01] branches"))
    assert sheet(opened).locator("*").count() < 10  # nothing in the page grows with the tree
    node = sheet(opened).element_handle()
    took = opened.page.evaluate(
        """async node => {
          const canvas = node.querySelector("canvas"), seen = new Set();
          const began = performance.now();
          for (let n = 1; n <= 20; n++) {
            node.scrollTop = n * 400;
            await new Promise(requestAnimationFrame);
            await new Promise(requestAnimationFrame);
            seen.add(canvas.toDataURL().length);
          }
          return [seen.size, performance.now() - began];
        }""",
        node,
    )
    assert took[0] > 1
    sheet(opened).focus()
    opened.page.keyboard.press("Home")
    opened.page.keyboard.press("ArrowDown")
    expect(said(opened)).to_contain_text("dropped")


def test_a_token_is_text_whatever_it_says(cells: Notebook) -> None:
    n, start = cells.evaluate("(chat.context.token_count(), chat.head.start)")
    sheet(cells).focus()
    shown = ""
    for _ in range(n - start):
        shown = said(cells).locator(".token").inner_text() + shown
        cells.page.keyboard.press("ArrowLeft")
    assert "<script>window.hurt␣=␣1</script></svg><b>bold</b>" in shown
    assert cells.area(1).locator(".mullama :is(script, img, b, a)").count() == 0
    assert cells.page.evaluate("() => window.hurt ?? null") is None


def test_colours_are_those_of_the_theme(cells: Notebook) -> None:
    place = point(cells, 5)
    x, y = place["x"], place["y"]
    light = colour(cells, x, y)
    use_theme(cells.page, "JupyterLab Dark")
    cells.page.wait_for_function(
        """([node, before, x, y]) => {
          const canvas = node.querySelector("canvas"), ratio = devicePixelRatio;
          const now = canvas.getContext("2d").getImageData(x * ratio, y * ratio, 1, 1).data;
          return [...now].join() !== before.join();
        }""",
        arg=[sheet(cells).element_handle(), light, x, y],
    )
    use_theme(cells.page, "JupyterLab Light")


def test_a_narrow_page_has_all_of_it(cells: Notebook) -> None:
    cells.page.set_viewport_size({"width": 700, "height": 900})
    frame = cells.area(1).locator(".mullama-cellmap")
    frame.evaluate("node => { node.style.width = '320px' }")
    cells.page.wait_for_function(
        "node => node.scrollWidth <= node.clientWidth", arg=frame.element_handle()
    )
    expect(frame.get_by_role("button", name="Zoom in")).to_be_visible()
    n = cells.evaluate("chat.context.token_count()")
    expect(said(cells)).to_contain_text(f"position {n - 1}")


def test_what_is_refused_is_said(cells: Notebook) -> None:
    cells.evaluate("cells._do('checkout', {'checkpoint': 'nowhere'})")
    expect(cells.area(1).get_by_role("alert")).to_contain_text("nowhere")
    cells.evaluate("cells._do('undo', {})")
    expect(cells.area(1).get_by_role("alert")).to_be_hidden()


def test_two_pages_on_one_kernel_show_the_same(cells: Notebook) -> None:
    other = cells.page.context.new_page()
    twin = Notebook(other, cells._server, cells.name)
    cells.save()
    twin.open()
    n = cells.evaluate("chat.context.token_count()")
    expect(figures(twin)).to_contain_text(f"{n} of 1,024 cells")
    cells.evaluate("chat.undo() and None")
    left = cells.evaluate("chat.context.token_count()")
    for each in (cells, twin):
        expect(figures(each)).to_contain_text(f"{left} of 1,024 cells")
    sheet(twin).focus()
    other.keyboard.press("r")
    for each in (cells, twin):
        expect(figures(each)).to_contain_text(f"{n} of 1,024 cells")
    other.close()
