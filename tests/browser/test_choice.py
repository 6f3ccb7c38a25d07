"""How tokens were chosen, in JupyterLab: in a widget of its own, and in the chat panel."""

from __future__ import annotations

import re

import pytest
from browser.lab import Notebook, Opener
from browser.test_stop import CHAT as SLOW
from browser.themes import check_reading
from playwright.sync_api import expect

ASK = "turn = chat.ask('Hi', max_tokens=6, temperature=1.5, top_k=20)"
PANEL = "from mullama_nb.widgets import ChatPanel, Choice\npanel = Choice(chat, 2); panel"
HOSTILE = r"""
from mullama_nb.engine.sampling.choice import Candidate, Choice as Found, ChoiceStep
texts = ["<img src=x onerror='window.hurt=1'>", "\u202eevil", "\n\n", "\x00", "\u05e9\u05dc", ""]
candidates = tuple(Candidate(i, text, 1 / 6) for i, text in enumerate(texts))
step = ChoiceStep("<b>top_k</b>", "<i>", 6, 3, candidates[:3], candidates[3:])
panel.found = Found(0, texts[0], 3, "drawn", "<script>", candidates, (step,))
panel.queue_change(panel._message())
"""
NOTHING = """
from dataclasses import replace
nothing = replace(panel.found.draw, next_token=None, next_text=None)
panel.found = replace(panel.found, draw=nothing)
panel.queue_change(panel._message())
"""


@pytest.fixture
def choice(notebook: Opener) -> Notebook:
    """An answer in the chat, and how its third token was chosen in the third cell."""
    opened = notebook(SLOW, ASK, PANEL, "ChatPanel(chat)", HOSTILE)
    opened.run(0, 1, 2)
    expect(opened.area(2)).to_contain_text("Token 3 of 6")
    return opened


def test_goes_from_token_to_token(choice: Notebook) -> None:
    area = choice.area(2)
    area.get_by_label("Next token").click()
    expect(area).to_contain_text("Token 4 of 6")
    assert choice.evaluate("panel.found == turn.choice(3)")
    tokens = area.get_by_role("group", name="Tokens").get_by_role("button")
    tokens.first.click()
    expect(area).to_contain_text("Token 1 of 6")
    expect(tokens.first).to_have_attribute("aria-pressed", "true")
    expect(area.get_by_label("Previous token")).to_be_disabled()
    choice.page.keyboard.press("ArrowRight")
    choice.page.keyboard.press("Enter")
    expect(area).to_contain_text("Token 2 of 6")


def test_says_where_the_next_answer_would_find_nothing(choice: Notebook) -> None:
    said = choice.area(2).locator(".mullama-candidates p")
    expect(said).to_have_text(re.compile(r"The next answer would draw 0\.\d{4} here: "))
    choice.evaluate(f"exec({NOTHING!r})")
    ends = r"would draw 0\.\d{4} here, and XTC leaves nothing then that continues the grammar\.$"
    expect(said).to_have_text(re.compile(ends))


def test_keys_go_through_the_steps(choice: Notebook) -> None:
    area = choice.area(2)
    steps = area.get_by_role("option")
    names = choice.evaluate("[bar[0] for bar in panel._message()['found']['bars']]")
    expect(steps).to_have_count(len(names))
    expect(steps.last).to_have_attribute("aria-selected", "true")
    expect(area.locator(".mullama-candidates")).to_contain_text("The next answer would draw")
    steps.last.focus()
    choice.page.keyboard.press("Home")
    choice.page.keyboard.press("ArrowDown")
    expect(steps.nth(1)).to_be_focused()
    said = re.compile(r"^Top-k: the 20 likeliest; [\d,]+ to 20; ")
    expect(steps.nth(1)).to_have_attribute("aria-label", said)
    n = choice.evaluate("turn.choice(2).steps[0].before")
    expect(area.locator(".mullama-candidates")).to_contain_text(f"Taken away ({n - 20:,})")
    area.get_by_label("Next token").click()
    expect(area).to_contain_text("Token 4 of 6")
    expect(steps.nth(1)).to_have_attribute("aria-selected", "true")  # the same step of the next


def test_follows_the_chat_once_it_rests(choice: Notebook) -> None:
    choice.evaluate("chat.regenerate(max_tokens=9, temperature=0) and None")
    expect(choice.area(2)).to_contain_text("Token 3 of 9")
    expect(choice.area(2)).to_contain_text("no number was drawn")
    choice.evaluate("chat.undo() and None")
    expect(choice.area(2)).to_contain_text("There is no answer yet.")


def test_the_number_points_at_the_token_that_it_drew(choice: Notebook) -> None:
    needle = choice.area(2).locator(".needle").bounding_box()
    mine = choice.area(2).get_by_role("option").last.locator(".segment.chosen").bounding_box()
    assert needle is not None
    assert mine is not None
    middle = needle["x"] + needle["width"] / 2
    assert mine["x"] - 1 <= middle <= mine["x"] + mine["width"] + 1


def test_hostile_tokens_are_signs(choice: Notebook) -> None:
    choice.run(4)
    area = choice.area(2)
    expect(area).to_contain_text("<b>top_k</b>")
    texts = area.get_by_role("option").first.locator(".segment bdi").all_text_contents()
    assert texts == ["<img␣src=x␣onerror='win…", "⟨202E⟩evil", "↵↵", "␀", "של", "∅"]
    assert area.locator(".mullama :is(img, script, b, i:not(.needle))").count() == 0
    assert choice.page.evaluate("() => window.hurt ?? null") is None


def test_the_panel_tells_how_a_token_was_chosen_and_shades_tokens(choice: Notebook) -> None:
    choice.run(3)
    area = choice.area(3)
    area.get_by_label("Show how likely each token was").last.click()
    tokens = area.get_by_role("group", name="Tokens").get_by_role("button")
    expect(tokens).to_have_count(6)
    shading = area.get_by_role("group", name="Shade by")
    shade = "all => all.map((each) => each.style.getPropertyValue('--shade'))"
    seen = [tokens.evaluate_all(shade)]
    for kind, words in (("surprisal", "surprisal"), ("entropy", "entropy")):
        shading.get_by_role("button", name=kind).click()
        expect(tokens.first).to_have_attribute("title", re.compile(f"{words} .* nats"))
        expect(shading).to_contain_text("nats")
        seen.append(tokens.evaluate_all(shade))
    assert len({tuple(each) for each in seen}) == 3
    assert "45%" in seen[1]
    assert "45%" in seen[2]

    tokens.nth(1).click()
    area.get_by_label("Show each step of the sampler chain").click()
    n_steps = choice.evaluate("len(turn.choice(1).steps)")
    expect(area.get_by_role("option")).to_have_count(n_steps + 2)
    tokens.nth(2).click()
    expect(area.get_by_role("option")).to_have_count(0)


def test_can_be_read_in_both_themes_and_in_a_narrow_cell(choice: Notebook) -> None:
    area = choice.area(2).locator(".mullama")
    check_reading(choice.page, area)
