"""The page of a result: one file that asks no network, and runs nothing of a stranger's."""

from __future__ import annotations

import base64
import hashlib
import re
import stat
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from testing.suites.suite_values import FEW, answer, cell, results
from testing.suites.test_comparing import drawn

from mullama_nb.errors import SessionWriteError
from mullama_nb.testing import CheckResult, SuiteAnswer, SuiteCell, SuiteResult
from mullama_nb.testing.suites.page.writing import comparison_page, result_page

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\x1b\u202e\"' &"


class Page(HTMLParser):
    """What a page is made of: its tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def matrix() -> SuiteResult:
    old, new = (
        drawn("abcd", [0.9, 0.41, 0.9, 0.02], {"x": 0.4}),
        drawn("ax", [0.9, 0.42], {"b": 0.4}),
    )
    cells = (
        cell("capital", answers=(old,), tree="root\n└─ first", question="Why?"),
        cell(
            "capital",
            setting="q8_0",
            passed=False,
            answers=(new,),
            tree="root\n└─ second",
            question="Why?",
        ),
        cell("greeting"),
    )
    return SuiteResult("s", ("capital", "greeting"), ("m",), ("plain", "q8_0"), cells)


def hostile() -> SuiteResult:
    found = CheckResult(HOSTILE, False, HOSTILE)
    said = SuiteAnswer(HOSTILE, (1, 2), (HOSTILE, HOSTILE), (-0.1, -9.0), finish_reason=HOSTILE)
    labels = (HOSTILE, HOSTILE, HOSTILE)
    one = SuiteCell(
        *(HOSTILE, *labels, False, HOSTILE, (found,), (said,), HOSTILE),
        fingerprint=HOSTILE,
        settings={HOSTILE: HOSTILE},
        environment={HOSTILE: HOSTILE},
        worker=HOSTILE,
        tree=HOSTILE,
    )
    return SuiteResult(HOSTILE, (HOSTILE,), (HOSTILE, "m"), (HOSTILE, "s"), (one,))


def check_closed(text: str) -> Page:
    """Check that a page asks for nothing, and that nothing runs but its own script."""
    page = Page(text)
    assert {name for name, _ in page.tags} <= {
        *("html", "head", "meta", "title", "style", "noscript", "body", "header", "main", "footer"),
        *("h1", "h2", "h3", "p", "div", "span", "ul", "li", "code", "pre", "b", "label", "input"),
        *("table", "thead", "tbody", "tr", "th", "td", "a", "script"),
    }
    for name, attributes in page.tags:
        assert not {"src", "style", "onclick", "onerror", "srcset", "action"} & {*attributes}, name
        assert (attributes.get("href") or "#").startswith("#")
    (policy,) = [m["content"] for m in page.of("meta") if m.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        texts = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        allowed = re.search(rf"{kind}-src ([^;]*);", policy)
        assert allowed is not None
        hashes = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in texts]
        assert allowed[1].split() == [f"'sha256-{each}'" for each in hashes]
    return page


def test_a_page_asks_for_nothing_and_runs_only_its_own_script() -> None:
    for result in (matrix(), hostile()):
        check_closed(result_page(result))
        check_closed(comparison_page(result.compare(result)))


@pytest.mark.slow
@FEW
@given(result=results(), other=results())
def test_whatever_a_result_says_is_text(result: SuiteResult, other: SuiteResult) -> None:
    check_closed(result_page(result))
    check_closed(comparison_page(result.compare(other)))


def test_hostile_text_is_shown_as_it_is() -> None:
    text = result_page(hostile())
    assert text.count("<script>") == 1
    assert "&lt;img src=x onerror=alert(1)&gt;\\x1b\\u202e&quot;&#x27; &amp;" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_each_field_opens_a_panel() -> None:
    page = check_closed(result_page(matrix()))
    opened = [each["href"] for each in page.of("a")]
    panels = [f"#{each['id']}" for each in page.of("div") if each.get("id")]
    assert opened == panels
    assert len(opened) == 3
    assert all(
        "until-found" in (each.get("hidden") or "") for each in page.of("div") if "id" in each
    )


def test_a_panel_says_where_the_answer_parts_from_the_first_of_its_row() -> None:
    text = result_page(matrix())
    assert "Parts from “plain” at token 1" in text
    assert "probability gap 0.010: a near-tie, which rounding can decide" in text
    assert text.count('<b class="near" title="41.0%, token 98">b</b>') == 1
    assert text.count('<b class="near" title="42.0%, token 120">x</b>') == 2
    assert '<span class="u3" title="2.0%, token 100">d</span>' in text
    assert "plain<pre>root\n└─ first</pre>" in text
    assert "q8_0<pre>root\n└─ second</pre>" in text


def test_a_comparison_shows_both_sides() -> None:
    before = matrix()
    moved = replace(before.cells[0], answers=(drawn("abx", [0.9, 0.4, 0.9], {}),))
    fixed = replace(before.cells[1], passed=True, findings=(CheckResult("contains('x')", True),))
    after = replace(before, cells=(moved, fixed, before.cells[2]))
    text = comparison_page(before.compare(after))
    words = re.findall(r'<td class="field"><a [^>]*><span class="\w*">(.)</span> ([^<]*)</a>', text)
    assert words == [("≠", "other answer"), ("✓", "fixed"), ("✓", "same")]
    assert "Parts from before at token 2" in text
    assert "Findings before" in text
    assert "before<pre>root\n└─ first</pre>" in text


def test_an_answer_that_ends_is_marked_at_its_end() -> None:
    cells = (
        cell("a", answers=(answer("one two"),)),
        cell("a", setting="q8_0", answers=(answer("one"),)),
    )
    text = result_page(SuiteResult("s", ("a",), ("m",), ("plain", "q8_0"), cells))
    assert text.count('title="the answer ends here"') == 2


def test_a_field_that_was_not_run_says_so() -> None:
    text = result_page(SuiteResult("s", ("a",), ("m",), ("plain", "q8_0"), (cell("a"),)))
    assert '<td class="field"><span>· not run</span></td>' in text


def test_long_answers_and_many_draws_are_cut_short() -> None:
    long = answer(" ".join(["word"] * 2_000))
    cells = (cell("a", answers=(long,) * 500),)
    text = result_page(SuiteResult("s", ("a",), ("m",), ("plain",), cells))
    assert "and 1,488 more tokens" in text
    assert "and 488 more answers" in text
    assert len(text) < 1_000_000


def test_of_very_many_fields_those_open_that_failed() -> None:
    cases = tuple(f"case {i}" for i in range(3_000))
    cells = tuple(cell(case, passed=i % 100 > 0) for i, case in enumerate(cases))
    page = check_closed(result_page(SuiteResult("s", cases, ("m",), ("plain",), cells)))
    assert len(page.of("a")) == 30
    assert len([each for each in page.of("div") if each.get("id")]) == 30
    assert len(page.of("th")) == 3_002


def test_the_file_is_its_owners_and_always_the_same(tmp_path: Path) -> None:
    path = matrix().to_html(tmp_path / "a.html")
    assert path == tmp_path / "a.html"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == matrix().to_html(tmp_path / "b.html").read_bytes()
    change = matrix().compare(matrix())
    assert change.to_html(path).read_text(encoding="utf-8") == comparison_page(change)
    with pytest.raises(SessionWriteError):
        matrix().to_html(tmp_path / "missing" / "a.html")
