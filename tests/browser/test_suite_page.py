"""The page of a suite's results in a real browser: opened, read, and with nothing of others run."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser.axe import findings
from browser.themes import least_contrast
from playwright.sync_api import Page, expect
from testing.suites.suite_values import answer, cell
from testing.suites.test_page import HOSTILE, hostile, matrix

from mullama_nb.testing import SuiteResult

pytestmark = pytest.mark.slow


def large(n_cases: int) -> SuiteResult:
    """Six columns; every tenth case fails in one of them."""
    cases, models = tuple(f"case {i}" for i in range(n_cases)), ("one", "two", "three")
    words = " ".join(f"word{i}" for i in range(100))
    cells = [
        cell(
            *(case, model, setting),
            passed=i % 10 > 0 or model != "two",
            answers=(answer(words if setting == "plain" else f"other {words}"),),
        )
        for i, case in enumerate(cases)
        for model in models
        for setting in ("plain", "q8_0")
    ]
    return SuiteResult("large", cases, models, ("plain", "q8_0"), tuple(cells))


def show(page: Page, path: Path) -> list[str]:
    """Open a page, and return what it complains of."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(path.as_uri())
    return said


def test_a_field_opens_by_mouse_and_by_keys(page: Page, tmp_path: Path) -> None:
    said = show(page, matrix().to_html(tmp_path / "page.html"))
    failed = page.get_by_role("link", name="FAILED")
    panel = page.get_by_role("region", name="capital[m,q8_0]")
    expect(panel).to_be_hidden()
    failed.click()
    expect(panel).to_be_visible()
    expect(failed).to_have_attribute("aria-expanded", "true")
    expect(panel.get_by_text("a near-tie")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("region", name="capital[m,plain]")).to_be_visible()
    expect(panel).to_be_hidden()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="greeting[m,plain]")).to_be_visible()
    assert page.url.endswith("#f3")
    page.keyboard.press("Escape")
    expect(page.locator(".panel:visible")).to_have_count(0)
    page.goto(f"{page.url.partition('#')[0]}#f2")
    expect(panel).to_be_visible()
    assert said == []


def test_large_ones_are_filtered_and_fit_a_narrow_page(page: Page, tmp_path: Path) -> None:
    said = show(page, large(40).to_html(tmp_path / "page.html"))
    rows = page.locator("tbody > tr:first-child")
    assert rows.count() == 40
    expect(rows.nth(1)).to_be_visible()
    page.get_by_label("only cases that did not pass (4 of 40)").check()
    expect(rows.nth(1)).to_be_hidden()
    expect(rows.nth(10)).to_be_visible()
    page.set_viewport_size({"width": 520, "height": 800})
    rows.nth(10).get_by_role("link", name="FAILED").last.click()
    panel = page.locator(".panel:visible")
    expect(panel).to_have_count(1)
    box = panel.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 520
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_can_be_read(page: Page, tmp_path: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    result = matrix()
    for shown in (result, result.compare(large(1))):
        show(page, shown.to_html(tmp_path / "page.html"))
        page.get_by_role("link").last.click()
        contrast, text = least_contrast(page.locator("body"))
        assert contrast >= 4.5, text
        assert findings(page.locator("html")) == ""


def test_nothing_of_a_strangers_text_runs(page: Page, tmp_path: Path) -> None:
    path = hostile().to_html(tmp_path / "page.html")
    said = show(page, path)
    page.get_by_role("link").first.click()
    expect(page.get_by_role("region")).to_be_visible()
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    assert said == []
    # Even if it were not escaped.
    text = path.read_text(encoding="utf-8").replace("<main>", f"<main>{HOSTILE}", 1)
    path.write_text(text, encoding="utf-8")
    said = show(page, path)
    expect(page.locator("img")).to_have_count(1)
    assert len(said) >= 2
    assert all("Content Security Policy" in each for each in said)


def test_print_shows_what_failed(page: Page, tmp_path: Path) -> None:
    show(page, matrix().to_html(tmp_path / "page.html"))
    page.emulate_media(media="print")
    expect(page.get_by_text("'x' is not in 'y'")).to_be_visible()
    expect(page.get_by_text("└─ second")).to_be_visible()
