"""The chat panel in JupyterLab: what stays where it is while other things change."""

from __future__ import annotations

import itertools
import re

import pytest
from browser.lab import Notebook, Opener
from browser.test_stop import CHAT as SLOW
from browser.test_widgets import CHAT
from playwright.sync_api import Locator, expect

PANELS = "from mullama_nb.widgets import ChatPanel\npanel = ChatPanel(chat); panel"
SAID = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Good day!"}]
# A cell that comes back at once, while a thread has the model answer, token by token.
IN_THREAD = """
import threading
asking = threading.Thread(target=chat.ask, args=("Tell me everything.",),
                          kwargs={"max_tokens": 15000, "on_token": slowly, "echo": False})
asking.start()
"""


@pytest.fixture
def panel(notebook: Opener) -> Notebook:
    """A conversation, with a panel in the second cell and the same one in the third."""
    opened = notebook(CHAT, PANELS, "panel")
    opened.run()
    return opened


def mark(node: Locator) -> None:
    """Write on an element, so that it can be told from another one in its place."""
    node.evaluate("node => { node.marked = true; }")


def is_marked(node: Locator) -> bool:
    return bool(node.evaluate("node => node.marked === true"))


def test_an_answer_grows_while_everything_else_stays(notebook: Opener) -> None:
    opened = notebook(SLOW, PANELS, IN_THREAD)
    opened.run(0, 1)
    opened.evaluate(f"chat.replay({SAID})")
    area = opened.area(1)
    first = area.locator("article").first
    first.hover()
    first.get_by_label("Edit this message").click()
    field = area.get_by_label("Edited message")
    field.fill("Half a thou")
    mark(first)

    opened.run(2)
    draft = area.locator("article[aria-busy=true] .mullama-text")
    draft.wait_for()
    mark(draft)
    field.focus()
    before = draft.inner_text()
    opened.page.wait_for_function(
        "([node, n]) => node.innerText.length > n + 20", arg=[draft.element_handle(), len(before)]
    )
    assert is_marked(draft)
    opened.page.keyboard.type("ght")
    opened.stop(1)
    opened.wait_until("not asking.is_alive()")

    answer = area.locator("article").last
    expect(answer).to_have_attribute("data-id", opened.evaluate("chat.head.id"))
    assert is_marked(answer.locator(".mullama-text").first)  # what streamed is the message now
    assert is_marked(first)
    expect(field).to_have_value("Half a thought")


def test_the_log_follows_only_a_reader_at_its_end(notebook: Opener) -> None:
    opened = notebook(SLOW, PANELS, IN_THREAD)
    opened.run(0)
    opened.evaluate(f"chat.replay({SAID} * 8)")
    opened.run(1)
    log = opened.area(1).get_by_role("log")
    distance = "log => log.scrollHeight - log.scrollTop - log.clientHeight"
    opened.page.wait_for_function(
        f"log => log.scrollTop > 100 && ({distance})(log) < 5", arg=log.element_handle()
    )
    opened.run(2)
    opened.area(1).locator("article[aria-busy=true]").wait_for()
    log.evaluate("log => { log.scrollTop = 50; }")
    opened.wait_until("n_said > 40")
    assert log.evaluate("log => log.scrollTop") == 50
    opened.stop(1)
    opened.wait_until("not asking.is_alive()")
    assert log.evaluate("log => log.scrollTop") == 50


def test_a_button_that_moves_below_the_pointer_is_pressed(notebook: Opener) -> None:
    opened = notebook(SLOW, PANELS, IN_THREAD)
    opened.run()
    stop = opened.area(1).get_by_role("button", name="Stop")
    expect(stop).to_be_enabled()
    stop.scroll_into_view_if_needed()
    stop.hover()
    opened.page.mouse.down()
    before = stop.bounding_box()
    # As when the answer grows by some lines between press and release.
    opened.area(1).evaluate("area => { area.style.marginTop = '60px'; }")
    assert before is not None
    after = stop.bounding_box()
    assert after is not None
    assert abs(after["y"] - before["y"]) > before["height"]
    opened.page.mouse.up()

    opened.wait_until("not asking.is_alive()")
    assert opened.evaluate("chat.head.metadata['finish_reason']") == "stopped"
    assert opened.evaluate("len(chat.head.tokens) < 15000")


def test_a_press_that_leaves_a_button_does_nothing(notebook: Opener) -> None:
    opened = notebook(SLOW, PANELS, IN_THREAD)
    opened.run()
    stop = opened.area(1).get_by_role("button", name="Stop")
    expect(stop).to_be_enabled()
    stop.hover()
    opened.page.mouse.down()
    opened.area(1).get_by_label("Message", exact=True).hover()
    opened.page.mouse.up()
    opened.page.wait_for_timeout(300)

    assert opened.evaluate("asking.is_alive() and not chat.tree._workspace.lock.is_stopped")
    opened.evaluate("chat.stop()")


def test_siblings_are_paged_in_every_view(panel: Notebook) -> None:
    panel.evaluate("chat.edit('Another answer.', chat.turns[1]).text")
    one, two = panel.area(1), panel.area(2)
    expect(two.locator("article")).to_have_count(2)
    expect(two.locator("article").last).to_contain_text("2/2")
    one.get_by_label("Previous version").last.click()
    expect(two.locator("article")).to_have_count(4)  # and on to where one was
    expect(two.locator("article").nth(1)).to_contain_text("1/2")
    expect(two.locator("article").nth(1)).to_contain_text("The sea follows the moon.")
    assert panel.evaluate("len(chat.turns)") == 4


def test_an_answer_is_given_again_and_gone_on_with(notebook: Opener) -> None:
    opened = notebook(SLOW, f"chat.replay({SAID})", PANELS)
    opened.run()
    area = opened.area(2)
    for name in ("Another answer", "Go on with this answer"):
        before = opened.evaluate("chat.head.id")
        area.get_by_label(name).last.click()
        area.locator("article[aria-busy=true]").wait_for()
        opened.stop(2)
        opened.wait_until(f"chat.head.id != {before!r} and not panel.is_busy")
        answer = area.locator("article").last
        expect(answer).to_have_attribute("data-id", opened.evaluate("chat.head.id"))
        expect(answer).to_contain_text("2/2")
        expect(answer).to_contain_text("unfinished")
    assert opened.evaluate("(len(chat.turns), chat.head.parent.id)") == (2, before)


def test_keys_alone_page_through_versions(panel: Notebook) -> None:
    panel.evaluate("chat.edit('Another answer.', chat.turns[-1]).text")
    area = panel.area(1)
    expect(area.locator("article").last).to_contain_text("2/2")
    area.get_by_label("Previous version").last.focus()
    panel.page.keyboard.press("Enter")
    expect(area.locator("article").last).to_contain_text("1/2")
    panel.wait_until("'script' in chat.turns[-1].text")
    focused = "() => document.activeElement.closest('article')?.dataset.id"
    assert panel.page.evaluate(focused) == panel.evaluate("chat.head.id")


def test_escape_leaves_a_message_as_it_is(panel: Notebook) -> None:
    area = panel.area(1)
    question = area.locator("article.mullama-user").last
    question.hover()
    question.get_by_label("Edit this message").click()
    area.get_by_label("Edited message").fill("Never mind")
    area.get_by_label("Edited message").press("Escape")
    expect(area.get_by_label("Edited message")).to_have_count(0)
    expect(question).to_contain_text("And a wave?")
    assert panel.evaluate("len(chat.tree.leaves())") == 1


def test_another_token_is_another_way(notebook: Opener) -> None:
    endless = CHAT.replace("n_ctx=1024", "n_ctx=16384")
    opened = notebook(endless, "chat.ask('Go on.', max_tokens=6, echo=False)", PANELS)
    opened.run()
    before = opened.evaluate("chat.head.tokens")
    area = opened.area(2)
    area.get_by_label("Show how likely each token was").last.click()
    tokens = area.get_by_role("group", name="Tokens").get_by_role("button")
    expect(tokens).to_have_count(len(before))
    tokens.nth(1).focus()
    opened.page.keyboard.press("ArrowRight")
    expect(tokens.nth(2)).to_be_focused()
    opened.page.keyboard.press("Enter")
    expect(tokens.nth(2)).to_have_attribute("aria-pressed", "true")
    others = area.get_by_role("group", name="Alternatives").get_by_role("button")
    expect(others).to_have_count(10)
    chosen = opened.evaluate("[a.id for a in chat.turns[-1].alternatives(2)]")
    wanted = next(n for n, token in enumerate(chosen) if token != before[2])
    others.nth(wanted).click()
    opened.wait_until("panel.is_busy or len(chat.tree.leaves()) > 1")
    opened.stop(2)
    opened.wait_until("not panel.is_busy")
    after = opened.evaluate("chat.turns[-1].tokens")
    assert after[:3] == (*before[:2], chosen[wanted])
    expect(area.locator("article").last).to_contain_text("2/2")


# In each frame: the rows, what the growing one says, and what lies below a row's buttons.
WATCH = """area => {
  window.frames_seen = [];
  const look = () => {
    const rows = [...area.querySelectorAll('article')];
    const below = rows.flatMap((row) => {
      const tools = row.querySelector('.mullama-tools');
      if (!tools.checkVisibility()) return [];
      const { top } = tools.getBoundingClientRect();
      const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
      const found = [];
      const range = document.createRange();
      while (walker.nextNode()) {
        if (tools.contains(walker.currentNode) || !walker.currentNode.data.trim()) continue;
        range.selectNodeContents(walker.currentNode);
        if (range.getBoundingClientRect().bottom > top + 1) found.push(walker.currentNode.data);
      }
      return found;
    });
    const growing = rows.filter((row) => row.ariaBusy === 'true').map((row) => {
      const said = row.querySelector('.mullama-text').cloneNode(true);
      said.querySelectorAll('button').forEach((button) => button.remove());  // of code: Copy
      return said.textContent;
    });
    window.frames_seen.push([rows.length, growing, below]);
    if (!window.has_seen_enough) requestAnimationFrame(look);
  };
  look();
}"""


def test_an_answer_from_another_token_on_grows_in_its_row(notebook: Opener) -> None:
    goes_on = IN_THREAD.replace('chat.ask, args=("Tell me everything.",)', "chat.resume")
    opened = notebook(SLOW, PANELS, goes_on)
    opened.run(0)
    opened.evaluate(f"chat.replay({SAID})")
    opened.evaluate("chat.ask('Go on.', max_tokens=30, echo=False) and None")
    opened.run(1)
    area = opened.area(1)
    expect(area.locator("article")).to_have_count(4)
    area.get_by_label("Show how likely each token was").last.click()
    token = area.get_by_role("group", name="Tokens").get_by_role("button").nth(20)
    token.click()
    other = area.locator("[aria-label=Alternatives] button:not([aria-current=true])").first
    area.evaluate(WATCH)
    other.click()
    growing = area.locator("article[aria-busy=true] .mullama-text")
    growing.wait_for()
    opened.page.wait_for_function(
        """node => node.innerText.length > 200 &&
          new Set(window.frames_seen.flatMap(([, growing]) => growing)).size > 3""",
        arg=growing.element_handle(),
    )
    opened.stop(1)
    opened.wait_until("not panel.is_busy")
    expect(area.locator("article").last).to_contain_text("2/2")
    seen = opened.page.evaluate("() => { window.has_seen_enough = true; return frames_seen; }")
    assert {n for n, _, _ in seen} == {4}
    assert [below for _, _, below in seen if below] == []
    texts = [growing[0] for _, growing, _ in seen if growing]
    kept = opened.evaluate("chat.model.detokenize(list(chat.turns[-1].tokens[:20]))")
    letters = [re.sub("[^A-Za-z]", "", text) for text in texts]
    for before, now in itertools.pairwise([re.sub("[^A-Za-z]", "", kept), *letters]):
        assert now.startswith(before)

    # What goes on from a cell is seen, too, though its tokens have been looked into.
    area.get_by_label("Show how likely each token was").last.click()
    expect(area.get_by_role("group", name="Tokens")).to_be_visible()
    opened.run(2)
    growing.wait_for()
    expect(area.get_by_role("group", name="Tokens")).to_be_hidden()
    opened.stop(1)
    opened.wait_until("not asking.is_alive()")


def test_what_could_not_be_said_is_given_back(notebook: Opener) -> None:
    opened = notebook(CHAT, PANELS)
    opened.run()
    area = opened.area(1)
    box = area.get_by_label("Message", exact=True)
    text = "word " * 3000  # more than there is room for
    box.fill(text)
    box.press("Shift+Enter")
    assert box.input_value() == text + "\n"
    box.press("Enter")
    expect(area.get_by_role("alert")).to_contain_text("n_ctx")
    expect(box).to_have_value(text.strip())
    expect(area.get_by_role("button", name="Send")).to_be_enabled()


def test_a_view_opened_while_an_answer_streams_shows_it(notebook: Opener) -> None:
    opened = notebook(SLOW, PANELS, IN_THREAD, "panel")
    opened.run(0, 1, 2)
    opened.wait_until("n_said > 20")
    opened.run(3)
    for index in (1, 3):
        draft = opened.area(index).locator("article[aria-busy=true]")
        expect(draft).to_have_count(1)
    texts = "[...document.querySelectorAll('[aria-busy=true] .mullama-text')].map(n => n.innerText)"
    shown = opened.page.evaluate(texts)
    assert len(shown[0]) > 20
    assert shown[0] == shown[1]
    opened.stop(3)
    opened.wait_until("not asking.is_alive()")


def test_an_empty_panel_says_what_to_do_and_how_far_it_is(notebook: Opener) -> None:
    opened = notebook(SLOW, PANELS, "from mullama_nb.history.events import Progress")
    opened.run()
    area = opened.area(1)
    expect(area.get_by_role("log", name="Messages")).to_contain_text("Say something")
    stop = area.get_by_role("button", name="Stop")
    send = area.get_by_role("button", name="Send")
    expect(send).to_be_disabled()
    expect(stop).to_have_count(0)

    opened.evaluate("chat.tree._workspace.notify(Progress(512, 2048))")
    expect(area.get_by_text("Reading 512 of 2,048 tokens")).to_be_visible()
    expect(area.get_by_role("progressbar", name="Evaluating")).to_have_js_property("value", 512)
    expect(stop).to_be_enabled()
    expect(send).to_have_count(0)  # it is one button
    opened.evaluate("chat.tree._workspace.notify(Progress(2048, 2048))")
    expect(area.get_by_role("progressbar")).to_have_count(0)
    expect(stop).to_have_count(0)
