"""What cells show in a page: an interrupt, errors, recordings, names on Tab, what is saved."""

from __future__ import annotations

from typing import Any

from browser.lab import LabServer, Notebook, Opener
from browser.test_stop import CHAT as SLOW
from browser.themes import THEMES, least_contrast, use_theme
from playwright.sync_api import expect

BEGIN = f"""%load_ext mullama_nb
{SLOW}
from mullama_nb import Model
from mullama_nb.widgets import SessionBrowser
chat.replay([{{"role": "user", "content": "Hi"}}, {{"role": "assistant", "content": "Good day!"}}])
chat.save("my tides")
_ = chat.tag("two words")
bias = {{}}
"""
ASK = "chat.ask('Tell me everything.', max_tokens=15000, on_token=slowly)"
WRONG = "chat.checkout('nowhere')"
REGRESS = """%%regress tides
led = Chat(chat.model, n_ctx=256, n_threads=1, temperature=0, logit_bias=bias)
told = led.ask("What is a tide?", max_tokens=40)
led"""
# A token that stands nowhere before: forbidden, it is missed there first.
PLACE = "next(i for i in range(12, 40) if told.tokens[i] not in told.tokens[:i])"
CELLS = (BEGIN, ASK, WRONG, REGRESS, "SessionBrowser()", "# here names are typed")
ASKS, FAILS, RECORDS, SAVED, TYPED = range(1, 6)


def shown(opened: Notebook, index: int) -> list[str]:
    """The lines of the last thing that a cell shows."""
    last = opened.area(index).locator(".jp-OutputArea-child").last
    expect(last).to_be_visible()
    return last.inner_text().strip().splitlines()


def complete(opened: Notebook, code: str) -> str:
    """What a cell says after Tab at the end of some code, and Enter if there is a choice."""
    page = opened.page
    page.locator(".jp-Notebook .jp-Cell .cm-content").nth(TYPED).click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(code)
    page.keyboard.press("Tab")
    source = (
        f"window.jupyterapp.shell.currentWidget.content.widgets[{TYPED}].model.sharedModel.source"
    )
    page.wait_for_function(
        f"""code => {source} !== code ||
          document.querySelector('.jp-Completer:not(.lm-mod-hidden) .jp-Completer-item')""",
        arg=code,
    )
    if page.locator(".jp-Completer:not(.lm-mod-hidden) .jp-Completer-item").count():
        page.keyboard.press("Enter")
        page.wait_for_function(f"code => {source} !== code", arg=code)
    said: str = page.evaluate(f"() => {source}")
    return said


def fails(opened: Notebook, index: int) -> dict[str, Any]:
    """The error of a cell that is run."""
    opened.start(index)
    opened.wait(index)
    (error,) = (each for each in opened.outputs(index) if each["output_type"] == "error")
    return error


def test_cells_show_what_a_reader_needs_and_no_more(notebook: Opener, lab: LabServer) -> None:
    opened = notebook(*CELLS, fresh=True)
    opened.run(0)

    # Stop of a cell that asks: one line, and what was said by then.
    opened.start(ASKS)
    opened.area(ASKS).locator("pre").first.wait_for()
    opened.page.get_by_role("button", name="Interrupt the kernel").first.click()
    opened.wait(ASKS)
    n = opened.evaluate("len(chat.head.tokens)")
    assert 0 < n < 15000
    assert shown(opened, ASKS) == [
        f"Interrupted: {n} tokens of the answer are kept, and resume() goes on with it"
    ]

    # An error of ours: the cell's own line, and what to do.
    assert fails(opened, FAILS)["ename"] == "RefError"
    lines = shown(opened, FAILS)
    assert any(WRONG in line for line in lines)
    assert "nowhere" in lines[-1]
    assert not any("mullama_nb/" in line or "site-packages" in line for line in lines)
    assert len(lines) < 10

    # A recording: the same words when it is made and when it holds.
    opened.run(RECORDS)
    words = opened.text(RECORDS)
    assert words.endswith(" checkpoints, as recorded\n")
    assert len(opened.outputs(RECORDS)) == 1
    opened.run(RECORDS)
    assert (opened.text(RECORDS), len(opened.outputs(RECORDS))) == (words, 1)

    # What moved is red where it first differs, and the end says what to do.
    opened.evaluate(f"bias.update({{told.tokens[{PLACE}]: -90.0}})")
    error = fails(opened, RECORDS)
    assert error["ename"] == "RegressionError"
    assert shown(opened, RECORDS)[-1].endswith("record it anew: %%regress tides --update")
    assert not any("mullama_nb/" in line for line in shown(opened, RECORDS))
    red = opened.area(RECORDS).locator("b")
    expect(red).to_have_count(2)
    before = "nodes => nodes.map(each => each.previousSibling.textContent)"
    assert len({*red.evaluate_all(before)}) == 1  # up to there both say the same
    assert len({*red.all_inner_texts()}) == 2
    for theme in THEMES:
        use_theme(opened.page, theme)
        colours = "node => [node, node.parentNode].map(each => getComputedStyle(each).color)"
        own, others = red.first.evaluate(colours)
        assert own != others
        assert least_contrast(red.first)[0] >= 3, theme

    # Tab inside of strings.
    for code, rest in (
        ("Model.load('smol", "lm2"),
        ("chat.checkout('two w", "ords"),
        ("Chat.open('my", " tides"),
    ):
        assert complete(opened, code) == code + rest

    # What is saved, without a word of where or of which model.
    opened.run(SAVED)
    area = opened.area(SAVED)
    saved = area.get_by_role("listitem").filter(has_text="my tides")
    saved.get_by_role("button", name="Load").click()
    expect(area.get_by_role("status")).to_contain_text("it is the variable my_tides")
    assert opened.evaluate("[turn.text for turn in my_tides.turns]") == ["Hi", "Good day!"]

    # The page of a chat, without a kernel: its tree is clicked.
    opened.evaluate("my_tides.to_html('tides.html')")
    alone = opened.page.context.new_page()
    alone.goto((lab.root / "tides.html").as_uri())
    said, rows = alone.locator("article:visible"), alone.locator("nav a")
    expect(said).to_have_count(2)
    rows.filter(has_text="Hi").click()
    expect(said).to_have_count(1)
    expect(said).to_contain_text("Hi")
    rows.filter(has_text="root").click()
    expect(said).to_have_count(0)
    rows.last.click()
    expect(said.last).to_contain_text("Good day!")
    alone.close()
