"""A lens in JupyterLab: what a click, a key and an answer do, and what the screen then shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser.lab import Notebook, Opener
from browser.test_widgets import CHAT
from browser.themes import THEMES, least_contrast, use_theme
from playwright.sync_api import Locator, expect

LENS = "from mullama_nb.widgets import Lens; lens = Lens(chat); lens"
# The pause makes the answer last until it was looked at.
ANSWERING = """
import threading, time
def slowly(*_): time.sleep(0.02)
answering = threading.Thread(target=chat.ask, args=("More?",),
                             kwargs={"max_tokens": None, "on_token": slowly, "echo": False})
answering.start()
"""
ARCHITECTURES = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from mullama_nb import Chat
from tiny_models import CHATML, make_model

def talk(architecture, text="What is a tide?"):
    path = Path(f"{{architecture}}.gguf")
    make_model(path, architecture, chat_template=CHATML, n_ctx=4096)
    messages = [{{"role": "user", "content": text}}, {{"role": "assistant", "content": "Sea."}}]
    return Chat.from_messages(path, messages, n_ctx=4096, n_threads=1)
"""


def tokens(area: Locator) -> Locator:
    return area.locator(".mullama-tokens button[data-n]")


def chosen(area: Locator) -> Locator:
    return area.locator("button[data-n][aria-pressed=true]")


@pytest.fixture
def lens(notebook: Opener) -> Notebook:
    opened = notebook(CHAT, LENS)
    opened.run()
    expect(opened.area(1).locator(".words")).to_contain_text("looked most at")
    return opened


def test_a_click_asks_another_token(lens: Notebook) -> None:
    area = lens.area(1)
    n = lens.evaluate("chat.head.stop")
    expect(tokens(area)).to_have_count(n)
    expect(area.get_by_role("button", name="Show earlier tokens")).to_be_hidden()
    expect(chosen(area)).to_have_attribute("data-n", str(n - 1))
    expect(area.locator("tbody tr")).to_have_count(5)

    tokens(area).nth(9).click()
    expect(area.locator(".words")).to_contain_text("Token 9 ")
    assert lens.evaluate("lens.look.position") == 9
    expect(chosen(area)).to_have_attribute("data-n", "9")
    expect(area.locator("button.later")).to_have_count(n - 10)
    share = lens.evaluate(
        "(lambda a: float((a.mean(axis=(0, 1))[4] / a.mean(axis=(0, 1))[1:].sum())))"
        "(lens.look.attention)"
    )
    label = tokens(area).nth(4).get_attribute("aria-label")
    assert label is not None
    assert label.endswith(f"{100 * share:.0f} %" if share > 0.0995 else f"{100 * share:.1f} %")
    assert "left out" in str(tokens(area).nth(0).get_attribute("aria-label"))


def test_keys_go_from_token_to_token(lens: Notebook) -> None:
    area = lens.area(1)
    tokens(area).nth(6).click()
    expect(area.locator(".words")).to_contain_text("Token 6 ")
    for _ in range(3):
        lens.page.keyboard.press("ArrowRight")
    expect(tokens(area).nth(9)).to_be_focused()
    expect(area.locator(".said")).to_contain_text("token 9 ")
    expect(area.locator(".words")).to_contain_text("Token 9 ")
    focused = area.locator("button[data-n]:focus")
    lens.page.keyboard.press("Home")
    top = focused.evaluate("node => node.getBoundingClientRect().top")
    lens.page.keyboard.press("ArrowDown")
    assert focused.evaluate("node => node.getBoundingClientRect().top") > top
    lens.page.keyboard.press("ArrowUp")
    lens.page.keyboard.press("ArrowUp")  # there is none above
    expect(tokens(area).first).to_be_focused()
    lens.page.keyboard.press("End")
    expect(area.locator(".words")).to_contain_text(f"Token {lens.evaluate('chat.head.stop') - 1} ")


def test_layers_and_heads_are_picked_and_sinks_come_back(lens: Notebook) -> None:
    area = lens.area(1)
    expect(area.locator(".left-out").first).to_be_visible()
    active = "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex"
    before = lens.page.evaluate(active)
    area.get_by_label("Layer").focus()
    lens.page.keyboard.press("ArrowDown")  # which is a key of the notebook, too
    lens.wait_until("lens._layer == 0")
    assert lens.page.evaluate(active) == before
    area.get_by_label("Layer").select_option("2")
    area.get_by_label("Head").select_option("1")
    lens.wait_until("(lens._layer, lens._head) == (2, 1)")
    area.get_by_label("Leave out sinks").uncheck()
    expect(area.locator(".words")).not_to_contain_text("Left out")
    best = lens.evaluate("int(lens.look.attention[2, 1].argmax())")
    share = lens.evaluate("float(lens.look.attention[2, 1].max())")
    shown = area.locator(f"button[data-n='{best}']").get_attribute("aria-label")
    assert f"{100 * share:.0f} %" in str(shown)
    shade = area.locator(f"button[data-n='{best}']").evaluate(
        "node => node.style.getPropertyValue('--shade')"
    )
    assert shade == "60%"


def test_it_follows_the_chat_where_it_is_seen(lens: Notebook) -> None:
    area = lens.area(1)
    before = lens.evaluate("lens.look.position")
    area.evaluate("area => { area.style.display = 'none'; }")
    lens.evaluate("chat.ask('And fog?', max_tokens=3) and None")
    now = lens.evaluate("chat.head.stop") - 1
    expect(tokens(area)).to_have_count(now + 1)
    group = area.locator("[role=group][aria-label=Tokens]")
    expect(group).to_have_attribute("aria-busy", "true")
    assert lens.evaluate("lens.look.position") == before
    area.evaluate("area => { area.style.display = ''; }")
    expect(area.locator(".words")).to_contain_text(f"Token {now} ")
    expect(group).to_have_attribute("aria-busy", "false")
    lens.evaluate("chat.undo() and None")
    expect(tokens(area)).to_have_count(before + 1)
    lens.wait_until(f"lens.look.position == {before}")


def test_it_does_not_look_while_the_chat_answers(notebook: Opener) -> None:
    long = CHAT.replace("n_ctx=1024", "n_ctx=16384")
    opened = notebook(
        long,
        LENS,
        ANSWERING,
    )
    opened.run(0, 1)
    area = opened.area(1)
    expect(area.locator(".words")).to_contain_text("looked most at")
    before = opened.evaluate("lens.look.position")
    opened.run(2)
    n = opened.evaluate("len(chat.context.tokens)")
    expect(tokens(area).nth(before + 30)).to_be_attached()  # it grows
    assert opened.evaluate("(lens.look.position, answering.is_alive())") == (before, True)
    opened.evaluate("chat.stop() and None")
    opened.wait_until("not answering.is_alive()")
    opened.wait_until("lens.look.position == chat.head.stop - 1")
    assert opened.evaluate("chat.head.stop") > n


def test_hostile_tokens_stay_text(lens: Notebook) -> None:
    area = lens.area(1)
    expect(area.locator(".mullama-tokens")).to_contain_text("<script>window.hurt = 1</script>")
    for index in (8, 40, 60):
        tokens(area).nth(index).hover()
        tokens(area).nth(index).click()
        expect(area.locator(".words")).to_contain_text(f"Token {index} ")
    assert area.locator(".mullama :is(script, img, iframe, b, a)").count() == 0
    assert lens.page.evaluate("() => window.hurt ?? null") is None
    shown = lens.evaluate("lens.to_html()")
    lens.page.evaluate("html => { document.body.insertAdjacentHTML('beforeend', html); }", shown)
    assert lens.page.evaluate("() => window.hurt ?? null") is None


def test_a_model_without_attention_says_so(notebook: Opener) -> None:
    opened = notebook(ARCHITECTURES, f"chat = talk('mamba'); {LENS}")
    opened.run()
    area = opened.area(1)
    expect(area.locator(".words")).to_contain_text("no attention")
    expect(area.locator(".pickers")).to_be_hidden()
    expect(area.locator("tbody tr")).to_have_count(5)
    tokens(area).nth(5).click()
    opened.wait_until("lens.look.position == 5")
    expect(area.locator(".words")).to_contain_text("Token 5 ")


def test_an_error_is_shown(lens: Notebook) -> None:
    area = lens.area(1)
    lens.evaluate("chat.context.close()")
    tokens(area).nth(5).click()
    expect(area.get_by_role("alert")).to_contain_text("closed")
    expect(area.locator(".waits")).to_have_count(0)


def test_a_long_conversation_is_shown_in_a_window(notebook: Opener) -> None:
    opened = notebook(ARCHITECTURES, f"chat = talk('llama', 'wave ' * 1300); {LENS}")
    opened.run()
    area = opened.area(1)
    expect(area.locator(".words")).to_contain_text("looked most at")
    n = opened.evaluate("chat.head.stop")
    assert n > 3000
    expect(tokens(area)).to_have_count(2048)
    expect(chosen(area)).to_be_in_viewport()
    earlier = area.get_by_role("button", name="Show earlier tokens")
    expect(earlier).to_contain_text(re.compile(r"earlier tokens \(\d"))
    earlier.click()
    expect(tokens(area).first).to_have_attribute("data-n", str(n - 2048 - 1024))
    tokens(area).first.click()
    expect(area.locator(".words")).to_contain_text(f"Token {n - 3072} ")


@pytest.mark.parametrize("theme", THEMES)
def test_the_strongest_shade_can_be_read(lens: Notebook, theme: str) -> None:
    use_theme(lens.page, theme)
    area = lens.area(1)
    strongest = area.locator("button[data-n][style*='--shade: 60%']").first
    assert least_contrast(strongest)[0] >= 4.5
    for width in (1600, 500):
        lens.page.set_viewport_size({"width": width, "height": 900})
        for part in (area, area.get_by_role("group", name="Tokens")):
            expect(part).to_be_visible()
            assert part.evaluate("part => part.scrollWidth <= part.clientWidth")
