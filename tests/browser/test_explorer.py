"""Several answers, side by side."""

from __future__ import annotations

from browser.lab import Opener
from browser.test_widgets import CHAT
from playwright.sync_api import expect

EXPLORER = "from mullama_nb.widgets.explorer import Explorer\npanel = Explorer(chat); panel"
GROWN = "node => Number(/(\\d+) tokens/.exec(node.innerText)?.[1]) >= 30"
# The pauses make the answers last until they are looked at, and then until they are stopped.
IN_THREAD = """
import itertools, threading, time
said = itertools.count()
exploring = threading.Thread(target=chat.explore, args=("Which one?", 2),
                             kwargs={"on_token": lambda *_: time.sleep(0.02 + next(said) // 100)})
exploring.start()
"""


def test_answers_are_siblings_to_keep_one_of(notebook: Opener) -> None:
    opened = notebook(CHAT.replace("n_ctx=1024", "n_ctx=512"), EXPLORER)
    opened.run()
    area = opened.area(1)
    area.get_by_label("Question").fill("Which one?")
    area.get_by_label("Number of answers").fill("3")
    area.get_by_label("Question").press("Enter")
    opened.wait_until("chat.messages[-1]['content'] == 'Which one?' and not panel.is_busy")

    answers = area.get_by_role("listitem")
    expect(answers).to_have_count(3)
    assert opened.evaluate("len(chat.head.children)") == 3

    wanted = opened.evaluate("chat.head.children[1].id")
    answers.nth(1).get_by_label("Go on from this answer").click()
    expect(answers.nth(1)).to_contain_text("Kept")
    assert opened.evaluate("chat.head.id") == wanted

    drop = answers.nth(1).get_by_label("Keep this answer and remove the others")
    drop.click()
    asks = answers.nth(1).get_by_role("alertdialog")
    expect(asks).to_contain_text("Drop the 2 other answers?")
    expect(asks.get_by_role("button", name="Cancel")).to_be_focused()
    opened.page.keyboard.press("Escape")
    expect(drop).to_be_focused()
    assert opened.evaluate("len(chat.head.siblings)") == 3
    drop.click()
    asks.get_by_role("button", name="Drop").click()
    expect(answers.nth(0)).to_contain_text("dropped")
    expect(answers.nth(0).get_by_role("button")).to_have_count(0)
    assert opened.evaluate("[c.id for c in chat.head.siblings]") == [wanted]


def test_answers_that_grow_are_in_every_view(notebook: Opener) -> None:
    panel = "from mullama_nb.widgets import ChatPanel\nChatPanel(chat)"
    opened = notebook(CHAT, EXPLORER, panel, IN_THREAD, "panel")
    opened.run(0, 1, 2, 3)
    first = opened.area(1).get_by_role("listitem")
    expect(first).to_have_count(2)
    opened.page.wait_for_function(GROWN, arg=first.first.element_handle())
    opened.run(4)
    expect(opened.area(4).get_by_role("listitem")).to_have_count(2)
    opened.page.wait_for_function(  # not all of them hear of a token in the same frame
        """() => {
          const shown = document.querySelectorAll('.mullama-answer:first-child .mullama-text');
          const texts = [...shown].map((node) => node.innerText.trim());
          return texts.length === 3 && texts[0] && texts.every((text) => text === texts[0]);
        }"""
    )
    assert opened.area(4).get_by_role("listitem").first.evaluate(GROWN)
    # The panel has cards of its own for them; none is the answer that it waits for.
    assert opened.area(2).locator("article[aria-busy=true]").count() == 0
    growing = opened.area(2).locator(".mullama-log .mullama-answer[aria-busy=true]")
    expect(growing).to_have_count(2)

    opened.save()
    opened.open()  # as a reader does who reloads the page
    grown = opened.area(1).get_by_role("listitem")
    expect(grown).to_have_count(2)
    assert grown.first.evaluate(GROWN)

    grown.first.evaluate("node => { node.marked = true; }")
    opened.stop(4)
    opened.wait_until("not exploring.is_alive()")
    expect(grown.first).to_contain_text("stopped")
    assert grown.first.evaluate("node => node.marked")


def test_what_explore_returns_has_cards_to_compare_and_keep(notebook: Opener) -> None:
    explore = """answers = chat.explore("Which one?", vary={"max_tokens": [9, 3]}, temperature=1.5)
answers"""
    opened = notebook(CHAT, "chat", explore)
    opened.run()
    cards, panel = opened.area(2), opened.area(1)
    for area in (cards, panel):
        listed = area.locator(".mullama-answers").get_by_role("listitem")
        expect(listed).to_have_count(2)
        expect(listed.nth(0)).to_contain_text("max_tokens 9")
        expect(listed.nth(0)).to_contain_text("nats per token")
    answers = cards.get_by_role("listitem")
    area = cards.get_by_label("Order of the answers")
    area.select_option("Shortest first")
    expect(answers.first).to_contain_text("Answer 2")
    area.select_option("Oldest first")
    expect(answers.first).to_contain_text("Answer 1")
    marks = answers.nth(1).locator("mark")
    differs = opened.evaluate("'<mark>' in answers._repr_html_()")
    assert (marks.count() > 0) is differs
    if differs:
        cards.get_by_role("button", name="Differences").click()
        expect(marks).to_have_count(0)

    kept = panel.locator(".mullama-answers").get_by_role("listitem").nth(1)
    kept.get_by_label("Go on from this answer").click()
    expect(panel.locator(".mullama-answers")).to_have_count(0)
    expect(panel.locator("article").last).to_contain_text("2/2")
    expect(answers.nth(1)).to_contain_text("Kept")
    assert opened.evaluate("chat.head is answers[1].checkpoint")
