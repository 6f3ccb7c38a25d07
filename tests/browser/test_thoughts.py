"""Thoughts, calls of tools and their results, and begun answers, as a reader sees and uses them."""

from __future__ import annotations

import re

import pytest
from browser.lab import Notebook, Opener
from browser.themes import THEMES, least_contrast, use_theme
from playwright.sync_api import Locator, expect

BEGIN = '''
from mullama_nb import Chat
from mullama_nb.widgets import ChatPanel, Timeline

TEMPLATE = r"""{% for m in messages %}<|im_start|>{{ m.role }} {{ m.name or '' }}
{% if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>
{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
<think>
{% endif %}"""
'''
SAID = """
call = {"id": "call12345", "type": "function",
        "function": {"name": "depth", "arguments": {"sea": "<b>Baltic</b>", "unit": "m"}}}
long = {"id": "call12346", "type": "function",
        "function": {"name": "chart", "arguments": {f"field {n}": "x" * 9 for n in range(20)}}}
chat = Chat.from_messages("tiny.gguf", [
    {"role": "user", "content": "How deep is the Baltic?"},
    {"role": "assistant", "content": "", "reasoning_content": "I should <i>look</i> it up.",
     "tool_calls": [call, long]},
    {"role": "tool", "name": "depth", "tool_call_id": "call12345", "content": '{"metres": 459}'},
    {"role": "assistant", "content": "459 m.", "reasoning_content": "The tool says 459."},
], chat_template=TEMPLATE, n_ctx=1024, n_threads=1, seed=1)
"""


@pytest.fixture
def said(notebook: Opener) -> Notebook:
    """A conversation with thoughts and calls; its panel is in the third cell."""
    opened = notebook(BEGIN, SAID, "panel = ChatPanel(chat); panel", "Timeline(chat)")
    opened.run()
    return opened


def is_open(details: Locator) -> bool:
    return bool(details.evaluate("node => node.open"))


def letters(text: str) -> str:
    """What Markdown leaves of a text at random."""
    return "".join(re.findall("[A-Za-z]", text))


def test_a_thought_opens_by_a_click_and_by_keys_in_both_themes(said: Notebook) -> None:
    thought = said.area(2).locator("details.mullama-thought").last
    line, words = thought.locator("summary"), thought.get_by_text("The tool says 459.")
    for theme in THEMES:
        use_theme(said.page, theme)
        expect(words).to_be_hidden()
        expect(line).to_have_text(re.compile(r"^Thought( · \d+ tokens)?$"))
        line.click()
        expect(words).to_be_visible()
        assert least_contrast(line)[0] > 4.5
        assert least_contrast(words)[0] > 4.5
        line.press("Enter")
        expect(words).to_be_hidden()
        line.press("Space")
        expect(words).to_be_visible()
        line.press("Space")
    expect(said.page.locator(".jp-Notebook.jp-mod-commandMode")).to_have_count(1)


def test_calls_and_results_are_rows_of_their_own(said: Notebook) -> None:
    rows = said.area(2).locator("article")
    expect(rows).to_have_count(4)
    short, long = rows.nth(1).locator(".mullama-call").all()
    expect(short).to_contain_text('depth{"sea": "<b>Baltic</b>", "unit": "m"}')
    assert not is_open(long)
    expect(long.locator("summary")).to_have_text("chart22 lines")
    long.locator("summary").press("Enter")
    expect(long.get_by_text('"field 19": "xxxxxxxxx"')).to_be_visible()
    expect(rows.nth(2).locator(".mullama-role")).to_have_text("Tooldepth")
    expect(rows.nth(2)).to_contain_text('{"metres": 459}')
    assert said.area(2).locator(".mullama :is(b, i)").count() == 0

    ends = said.evaluate("[turn.id for turn in chat.turns]")
    for end, marks in zip(ends, ([], ["thought", "call"], [], ["thought"]), strict=True):
        row = said.area(3).locator(f"[role=treeitem][data-id='{end}']")
        expect(row.locator(".mark.kind")).to_have_text(marks)
    for row in rows.all():
        assert least_contrast(row.locator(".mullama-role"))[0] > 4.5


def test_a_click_takes_a_result_back_and_another_takes_its_place(said: Notebook) -> None:
    before, end = said.evaluate("(chat.turns[1].id, chat.turns[3].id)")
    said.area(3).locator(f"[role=treeitem][data-id='{before}']").click()
    rows = said.area(2).locator("article")
    expect(rows).to_have_count(2)
    said.area(3).locator(f"[role=treeitem][data-id='{end}']").click()
    expect(rows).to_have_count(4)

    rows.nth(2).hover()
    rows.nth(2).get_by_label("Edit this message").click()
    field = said.area(2).get_by_label("Edited message")
    expect(field).to_have_value('{"metres": 459}')
    field.fill('{"metres": 460}')
    field.press("Enter")
    said.wait_until("[t.text for t in chat.turns][2:3] == ['{\"metres\": 460}']")
    said.stop(2)
    said.wait_until("not panel.is_busy")
    assert said.evaluate("[t.role for t in chat.turns[:3]]") == ["user", "assistant", "tool"]
    expect(rows.nth(2)).to_contain_text("460")
    expect(rows.nth(2)).to_contain_text("2/2")
    expect(rows.nth(2).locator(".mullama-role")).to_have_text("Tooldepth")


def test_a_thought_that_grows_counts_and_stays_open(notebook: Opener) -> None:
    slow = """
import threading, time
chat = Chat("tiny.gguf", chat_template=TEMPLATE, n_ctx=16384, n_threads=1, seed=1)
panel = ChatPanel(chat)
go_on, n_said = threading.Event(), 0

def slowly(token):
    global n_said
    n_said += 1
    if token.part == "reasoning" and n_said == 40:
        go_on.wait()
    time.sleep(0.01)

asking = threading.Thread(target=chat.ask, args=("Why?",), kwargs={
    "reasoning_budget": 60, "max_tokens": 15000, "on_token": slowly, "echo": False})
"""
    opened = notebook(BEGIN, slow, "panel", "asking.start()")
    opened.run()
    answer = opened.area(2).locator("article[aria-busy=true]")
    line = answer.locator("summary")
    expect(line).to_have_text(re.compile(r"^Thinking · \d+ tokens?$"))
    expect(answer.locator(".mullama-thought .mullama-text")).to_be_hidden()
    line.click()
    expect(answer.locator(".mullama-thought .mullama-text")).not_to_be_empty()
    opened.wait_until("n_said == 40")
    answer.evaluate("node => { node.marked = true; }")
    opened.evaluate("go_on.set()")

    expect(line).to_have_text(re.compile(r"^Thought · \d+ tokens$"))  # the answer has begun
    expect(answer.locator(".mullama-said > .mullama-text")).not_to_be_empty()
    assert is_open(answer.locator("details"))
    opened.stop(2)
    opened.wait_until("not asking.is_alive()")
    whole = opened.area(2).locator("article").last
    expect(whole).to_have_attribute("data-id", opened.evaluate("chat.head.id"))
    assert whole.evaluate("node => node.marked === true")
    assert is_open(whole.locator("details"))
    thought = whole.locator(".mullama-thought .mullama-text").inner_text()
    assert letters(thought) == letters(opened.evaluate("chat.turns[-1].reasoning"))


def test_a_begun_answer_and_its_rest_are_one_row(notebook: Opener) -> None:
    begun = """
chat = Chat("tiny.gguf", n_ctx=1024, n_threads=1, seed=1)
said = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "According to"}]
"""
    opened = notebook(BEGIN, begun, "panel = ChatPanel(chat); panel", "Timeline(chat)")
    opened.run()
    opened.evaluate("chat.ask(said, max_tokens=6, echo=False) and None")
    rows = opened.area(2).locator("article")
    expect(rows).to_have_count(2)
    expect(rows.last).to_contain_text("According to")
    expect(rows.last).to_have_attribute("data-id", opened.evaluate("chat.head.id"))
    assert opened.evaluate("len(chat.turns)") == 2


def test_a_question_on_a_question_leaves_both_to_be_seen(notebook: Opener) -> None:
    asked = """
chat = Chat("tiny.gguf", "Be brief.", n_ctx=1024, n_threads=1, seed=1)
ask = chat.ask
for question in ("Name a fruit.", "Name a river."):
    chat.ask(question, max_tokens=3, echo=False)
Chat.ask = lambda chat, text, **options: ask(text, max_tokens=3, **options)
"""
    opened = notebook(BEGIN, asked, "panel = ChatPanel(chat); panel", "Timeline(chat)", fresh=True)
    opened.run()
    rows = opened.area(3).locator("[role=treeitem]")
    river = opened.evaluate("chat.turns[3].checkpoint.id")
    opened.area(3).locator(f"[role=treeitem][data-id='{river}']").click()
    expect(opened.area(2).locator("article")).to_have_count(4)
    opened.area(2).get_by_label("Message", exact=True).fill("Name a mountain.")
    opened.area(2).get_by_role("button", name="Send").click()
    opened.wait_until("chat.head.metadata.is_answer and not panel.is_busy")

    said = opened.evaluate("[m['content'] for m in chat.messages][:-1]")
    assert said[-2:] == ["Name a river.", "Name a mountain."]
    expect(opened.area(2).locator("article")).to_have_count(6)
    for n, text in enumerate(said):
        expect(opened.area(2).locator("article").nth(n)).to_contain_text(text)
    labels = rows.locator(".text").all_inner_texts()
    assert not any(re.match(r"(user|assistant)\b", label) for label in labels)
    assert labels.count("Name a river.") == 1  # one row, whatever its template cut off
    assert not any(label.startswith("…") for label in labels)
