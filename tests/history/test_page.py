"""A chat as one file: every branch can be reached, nothing is markup or comes from elsewhere."""

from __future__ import annotations

import html
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from history.conftest import ChatMaker

from mullama_nb import Chat
from mullama_nb.errors import ParameterError
from mullama_nb.history.layout import lay_out

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>window.hurt = 1</script></style>&\"'"


@pytest.fixture
def branched(new_chat: ChatMaker) -> Chat:
    chat = new_chat("Be brief.", seed=1)
    chat.ask("Why?", max_tokens=3)
    chat.tag("first")
    chat.ask(HOSTILE, max_tokens=3)
    chat.regenerate(max_tokens=3)
    chat.edit("Where?", max_tokens=3)
    chat.checkout("first")
    return chat


def test_every_checkpoint_leads_to_its_messages(branched: Chat, tmp_path: Path) -> None:
    branched.to_html(tmp_path / "chat.html")
    page = (tmp_path / "chat.html").read_text("utf-8")
    before = dict(re.findall(r'<article id="(\S+?)" class="\w+" data-before="(\S*?)"', page))
    rows = dict(re.findall(r'data-name="(\S+?)" data-message="(\S*?)"', page))
    drawn = [row.checkpoint for row in lay_out(branched.tree)]
    assert rows.keys() == {checkpoint.id or "root" for checkpoint in drawn}
    for checkpoint in drawn[1:]:
        way, at = [], rows[checkpoint.id or "root"]
        while at:
            way.append(at)
            at = before[at]
        with branched.tree.visit(checkpoint):
            assert len(way) == len(branched.turns)
    shown = re.findall(r'<article id="(\S+?)" class="\w+" data-before="\S*?">', page)
    assert len(shown) == len(branched.turns)


def test_nothing_in_it_is_markup_or_elsewhere(branched: Chat, tmp_path: Path) -> None:
    for presenting in (False, True):
        branched.to_html(tmp_path / "chat.html", presenting=presenting)
        page = (tmp_path / "chat.html").read_text("utf-8")
        assert page.count("<script>") == 1
        assert "&lt;script&gt;" in page
        assert not re.search(r"https?:|src=|@import|url\(", page)
        assert ("tokens, " in page) is not presenting
        assert ('class="presenting"' in page) is presenting
    again = tmp_path / "again.html"
    branched.to_html(again, presenting=True)
    assert again.read_text("utf-8") == page
    with pytest.raises(ParameterError, match=r"must be \.html"):
        branched.to_html(tmp_path / "chat.pdf")


def test_a_tree_is_a_picture_in_a_file_and_text_in_a_cell(branched: Chat, tmp_path: Path) -> None:
    branched.tree.to_svg(tmp_path / "tree.svg")
    svg = ET.parse(tmp_path / "tree.svg").getroot()
    assert len([*svg.iter("{http://www.w3.org/2000/svg}circle")]) >= len(lay_out(branched.tree))
    with pytest.raises(ParameterError, match=r"must be \.svg"):
        branched.tree.to_svg(tmp_path / "tree.png")
    shown = re.fullmatch("<pre [^>]*>([^<>]*)</pre>", branched.tree._repr_html_())
    assert shown is not None
    assert html.unescape(shown[1]) == str(branched.tree)


def test_a_message_forked_inside_has_the_sign_of_the_live_timeline(
    new_chat: ChatMaker, tmp_path: Path
) -> None:
    chat = new_chat(seed=1)
    turn = chat.ask("Why?", max_tokens=6)
    chat.tree.to_svg(tmp_path / "before.svg")
    chat.fork(turn, token=2, max_tokens=3)
    chat.ask("And?", max_tokens=3)
    chat.tree.to_svg(tmp_path / "tree.svg")
    chat.to_html(tmp_path / "chat.html")
    assert "forked" not in (tmp_path / "before.svg").read_text("utf-8")
    svg = ET.parse(tmp_path / "tree.svg").getroot()
    forked = re.findall(r"\((forked at token \d+)\)", str(chat.tree))
    assert "forked at token 2" in forked
    signs = {float(sign.attrib["y"]): sign for sign in svg.findall(f"{SVG}svg")}
    assert [sign[0].text for sign in signs.values()] == forked
    rows = [text for text in svg.findall(f"{SVG}text") if "(forked at" in "".join(text.itertext())]
    for text, (y, sign) in zip(rows, signs.items(), strict=True):  # before the words of its row
        assert y + 7 == float(text.attrib["y"]) - 4
        assert float(sign.attrib["x"]) + 12 <= float(text.attrib["x"])
    page = (tmp_path / "chat.html").read_text("utf-8")
    assert re.findall(r"<title>(forked .*?)</title>", page) == forked
