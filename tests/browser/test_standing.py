"""Standing on a question, and the rows of the log, as a reader sees and uses them."""

from __future__ import annotations

import pytest
from browser.lab import Notebook, Opener
from browser.themes import THEMES, least_contrast, use_theme
from playwright.sync_api import Locator, expect

BEGIN = '''
from mullama_nb import Chat
from mullama_nb.widgets import ChatPanel

CODE = "def f(x):\\n    return 'a'  # b\\n"
RICH = f"""See $x^2$ and:

```python
{CODE}```

| a | b |
|---|--:|
| 1 | 2 |

\\\\[
\\\\frac{{1}}{{2}}
\\\\]
"""
chat = Chat("tiny.gguf", "Be brief.", n_ctx=2048, n_threads=1, seed=1, max_tokens=6)
chat.replay([{"role": "user", "content": "Name a fruit."},
             {"role": "assistant", "content": "A pear."},
             {"role": "user", "content": "Name a river."},
             {"role": "assistant", "content": RICH}])
'''


@pytest.fixture
def said(notebook: Opener) -> Notebook:
    """A conversation, with its panel in the second cell."""
    opened = notebook(BEGIN, "panel = ChatPanel(chat); panel")
    opened.run()
    return opened


def offers(opened: Notebook) -> Locator:
    return opened.area(1).get_by_role("group", name="Not answered")


def texts(opened: Notebook) -> list[str]:
    found: list[str] = opened.evaluate("[turn.text for turn in chat.turns]")
    return found


def test_the_question_that_is_stood_on_is_answered(said: Notebook) -> None:
    rows = said.area(1).locator("article")
    expect(offers(said)).to_be_hidden()
    said.evaluate("chat.checkout(chat.turns[3]) and None")
    expect(offers(said)).to_contain_text("The last message has 1 answer, shown above.")
    for theme in THEMES:
        use_theme(said.page, theme)
        assert least_contrast(offers(said))[0] > 4.5

    offers(said).get_by_role("button", name="Have the model answer the last message").click()
    expect(rows).to_have_count(5)
    expect(rows.last).to_contain_text("2/2")
    expect(offers(said)).to_be_hidden()
    assert texts(said)[:4] == ["Be brief.", "Name a fruit.", "A pear.", "Name a river."]

    said.evaluate("chat.checkout(chat.turns[3]) and None")
    offers(said).get_by_label("Number of answers").fill("3")
    offers(said).get_by_label("Number of answers").press("Enter")
    expect(offers(said)).to_contain_text("5 answers")
    said.wait_until("not panel.is_busy")
    assert len(texts(said)) == 4  # none of them is kept

    offers(said).get_by_role("button", name="Write another message in place").click()
    field = said.area(1).get_by_label("Edited message")
    expect(field).to_be_focused()
    said.page.keyboard.type("Name a lake.")  # in place of what is there
    said.area(1).get_by_role("button", name="Have this answered").click()
    said.wait_until("chat.head.metadata.is_answer and not panel.is_busy")
    assert texts(said)[:4] == ["Be brief.", "Name a fruit.", "A pear.", "Name a lake."]
    expect(rows.nth(3)).to_contain_text("2/2")


def test_a_system_message_is_added_and_edited(said: Notebook) -> None:
    rows = said.area(1).locator("article")
    add = said.area(1).get_by_role("button", name="Tell the model how to answer")
    expect(add).to_be_hidden()
    rows.first.hover()
    rows.first.get_by_label("Edit this message").click()
    said.area(1).get_by_label("Edited message").fill("Be long.")
    said.area(1).get_by_role("button", name="Have this answered").click()
    said.wait_until("len(chat.turns) == 3 and not panel.is_busy")
    assert texts(said)[:2] == ["Be long.", "Name a fruit."]
    expect(rows.first).to_contain_text("2/2")
    rows.first.get_by_label("Previous version").click()
    expect(rows).to_have_count(5)


def test_rows_are_coloured_drawn_and_copied(said: Notebook) -> None:
    said.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answer = said.area(1).locator("article").last
    expect(answer.locator("math")).to_have_count(2)
    expect(answer.locator("td")).to_have_text(["1", "2"])
    code = answer.locator("pre code")
    keyword = code.locator(".k").first
    expect(keyword).to_have_text("def")
    for theme in THEMES:
        use_theme(said.page, theme)
        plain = code.evaluate("node => getComputedStyle(node).color")
        assert keyword.evaluate("node => getComputedStyle(node).color") != plain
        contrast, word = least_contrast(code)
        assert contrast > 4.5, word
    read = "() => navigator.clipboard.readText()"
    code.hover()
    answer.get_by_role("button", name="Copy this code").click()
    expect(answer.get_by_text("Copied")).to_be_visible()
    assert said.page.evaluate(read) == said.evaluate("CODE")
    answer.hover()
    answer.get_by_role("button", name="Copy this message").click()
    said.page.wait_for_function(f"async () => (await ({read})()).startsWith('See $x')")
    assert said.page.evaluate(read) == said.evaluate("RICH")
