"""The composer and the footer below it, in JupyterLab."""

from __future__ import annotations

from browser.lab import Opener
from browser.themes import THEMES, check_reading, least_contrast, use_theme
from playwright.sync_api import Locator, expect

CHAT = """
from mullama_nb import Chat
chat = Chat("tiny.gguf", n_ctx=96, n_threads=1, seed=1, max_tokens=6)
chat.replay([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Good day!"}])
kept = [chat]  # no name of its own, which would name the larger one
"""


def height(node: Locator) -> float:
    box = node.bounding_box()
    assert box is not None
    return box["height"]


def test_a_message_is_typed_counted_refused_and_given_room(notebook: Opener) -> None:
    opened = notebook(CHAT, "chat")
    opened.run()
    area = opened.area(1)
    box = area.get_by_label("Message", exact=True)
    send = area.get_by_role("button", name="Send")
    meter = area.get_by_role("meter", name="Context")
    used = opened.evaluate("chat.context.token_count()")
    expect(meter).to_have_attribute("aria-valuetext", f"{used} of 96 cells")

    # Lines grow the box up to a limit, and what is typed is counted as it would be evaluated.
    low = height(box)
    box.press_sequentially("Why?")
    expect(send).to_be_enabled()
    counted = opened.evaluate("chat.count_tokens('Why?')")
    expect(meter).to_have_attribute(
        "aria-valuetext", f"{used} of 96 cells, {counted} with this message"
    )
    for _ in range(3):
        box.press("Shift+Enter")
    assert height(box) > 2 * low
    box.fill("\n".join("abcdefghijklmnopqrstuvwxyz"))
    assert height(box) <= 12 * low
    box.fill("Why?")
    box.press("Enter")
    opened.wait_until("len(chat.turns) == 4")
    expect(box).to_have_value("")
    expect(area.get_by_text("tokens/s")).to_be_visible()

    # What does not fit is said before, refused beside the composer, and closed by a button.
    long = "word " * 40
    box.fill(long)
    too_many = opened.evaluate(f"chat.count_tokens({long.strip()!r})") - 96
    expect(meter).to_contain_text(f"{too_many} too many with this message")
    box.press("Enter")
    alert = area.get_by_role("alert")
    expect(alert).to_contain_text("Nothing was evaluated")
    assert alert.evaluate("(node, box) => node.contains(box)", box.element_handle()) is False
    expect(box).to_have_value(long.strip())
    alert.get_by_role("button", name="Close").click()
    expect(alert).to_have_text("")
    expect(box).to_be_focused()
    box.press("Enter")

    # The larger chat is shown in its place: its messages, its tree, its cells.
    alert.get_by_role("button", name="New chat with 192 cells").click()
    expect(area.get_by_role("status").filter(has_text="new chat")).to_be_visible()
    opened.wait_until("chat is not kept[0] and chat.context.n_ctx == 192")
    expect(meter).to_contain_text("of 192 cells")
    expect(alert).to_have_text("")
    box.press("Enter")
    opened.wait_until("len(chat.turns) == 6 and len(kept[0].turns) == 4")
    expect(area.locator("article")).to_have_count(6)
    expect(area.get_by_role("treeitem")).to_have_count(opened.evaluate("1 + len(chat.tree)"))

    # A full context is said.
    opened.evaluate("chat.ask('All?', max_tokens=None, echo=False) and None")
    status = area.get_by_role("status")
    expect(status).to_contain_text("all 192 cells are in use")
    opened.evaluate("chat.undo() and None")
    expect(status).not_to_contain_text("all 192 cells")


def test_menus_set_and_follow_the_chat_s_own_options(notebook: Opener) -> None:
    opened = notebook(CHAT, "chat")
    opened.run()
    area = opened.area(1)

    def menu(name: str) -> Locator:
        area.get_by_role("button", name=name).click()
        return area.get_by_role("dialog", name=name)

    sheet = menu("Temperature")
    sheet.get_by_role("button", name="0.3", exact=True).click()
    opened.wait_until("chat.sampling.temperature == 0.3")
    expect(area.get_by_role("button", name="Temperature 0.3")).to_be_focused()
    sheet = menu("Length")
    field = sheet.get_by_label("Tokens at most")
    expect(field).to_have_value("6")
    field.fill("many")
    field.press("Enter")
    expect(sheet).to_contain_text("max_tokens must be a whole number, not 'many'")
    expect(area.get_by_role("alert")).to_contain_text("max_tokens must be a whole number")
    field.fill("9")
    field.press("Enter")
    opened.wait_until("chat.limits.max_tokens == 9")
    expect(sheet.locator(".mullama-option-fault")).to_be_hidden()
    field.press("Escape")
    expect(sheet).to_be_hidden()
    expect(area.get_by_role("button", name="Length 9")).to_be_focused()

    opened.evaluate("setattr(chat, 'limits', chat.limits.with_changes(max_tokens=None))")
    expect(area.get_by_role("button", name="Length no limit")).to_be_visible()
    opened.evaluate("setattr(chat, 'sampling', chat.sampling.with_changes(top_k=5, mirostat=2))")
    expect(area.get_by_role("button", name="Sampling (2 set)")).to_be_visible()
    expect(area.get_by_text("mirostat: 2")).to_be_visible()
    check_reading(opened.page, area.locator(".mullama-footer"))
    sheet = menu("Temperature")
    area.get_by_role("log").dispatch_event("scroll")  # as while an answer grows
    expect(sheet).to_be_visible()
    opened.page.set_viewport_size({"width": 1280, "height": 500})
    opened.page.locator(".jp-WindowedPanel-outer").evaluate("node => node.scrollBy(0, -9)")
    expect(sheet).to_be_hidden()
    for theme in THEMES:
        use_theme(opened.page, theme)
        contrast, text = least_contrast(menu("Sampling"))
        assert contrast >= 4.5, (theme, text)
        opened.page.keyboard.press("Escape")


def test_the_composer_stays_below_a_log_that_scrolls(notebook: Opener) -> None:
    opened = notebook(CHAT.replace("n_ctx=96", "n_ctx=2048"), "chat")
    opened.run(0)
    opened.evaluate("chat.replay(chat.messages * 20)")
    opened.run(1)
    area = opened.area(1)
    box, log = area.get_by_label("Message", exact=True), area.get_by_role("log")
    box.scroll_into_view_if_needed()
    before = box.bounding_box()
    log.evaluate("node => { node.scrollTop = 0; }")
    assert box.bounding_box() == before
    assert log.evaluate("node => node.scrollHeight > node.clientHeight")
    bottom = log.bounding_box()
    assert before is not None
    assert bottom is not None
    assert bottom["y"] + bottom["height"] <= before["y"] + 1
