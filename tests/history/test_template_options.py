"""The options of a chat template: given to a chat or an answer, kept, compared, recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from history.conftest import ChatMaker
from tiny_models import CHATML, FIRST_OWN

from mullama_nb import Chat, Model
from mullama_nb.errors import (
    ChatTemplateError,
    HistoryError,
    InexactWarning,
    ParameterError,
    ParameterWarning,
    SessionFormatError,
    SessionMismatchError,
)
from mullama_nb.sessions.store import SessionStore
from mullama_nb.testing import record, record_again, regress, replay

THINKS = CHATML + "{% if add_generation_prompt and enable_thinking %}<think>{% endif %}"
OTHER = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
DATED = "{{ strftime_now('%Y-%m-%d %H:%M:%S') }}\n" + CHATML


@pytest.fixture(scope="module")
def model(tiny: ModelMaker) -> Model:
    return tiny(chat_template=THINKS, named_templates={"other": OTHER})


def made(model: Model, **options: Any) -> Chat:
    return Chat(model, **{"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1} | options)


def prompts(chat: Chat) -> list[str]:
    return [node.text for node in chat.tree.path() if not node.metadata.is_answer]


def test_a_chat_has_options(model: Model) -> None:
    chat = made(model, chat_template_kwargs={"enable_thinking": True})
    assert chat.chat_template_kwargs == {"enable_thinking": True}
    assert chat.chat_template is None
    for text, own in (("why?", None), ("and?", {"enable_thinking": False}), ("so?", None)):
        turn = chat.ask(text, max_tokens=2, chat_template_kwargs=own)
        question = turn.checkpoint.parent
        assert question.text.endswith("<think>") == (own is None)
        assert question.metadata.chat_template_kwargs == (own or {})


def test_other_weights_get_each_question_as_it_was_put(
    model: Model, tiny: ModelMaker, tmp_path: Path
) -> None:
    chat = made(model, system="Be brief.", chat_template_kwargs={"enable_thinking": False})
    for text, own in (
        *(("why?", None), ("and?", {"enable_thinking": True}), ("so?", {"enable_thinking": True})),
        *(("else?", None), ("then?", {"enable_thinking": True})),
    ):
        chat.ask(text, max_tokens=2, chat_template_kwargs=own)
    chat.save("options", tmp_path)
    other = tiny(seed=1, chat_template=THINKS, named_templates={"other": OTHER})
    with pytest.warns(InexactWarning, match="evaluated again"):
        again = Chat.open("options", other, tmp_path, on_mismatch="replay")
    assert again.messages == chat.messages
    there, here = (
        [turn.checkpoint for turn in each.turns if turn.role == "user"] for each in (chat, again)
    )
    assert [end.metadata.chat_template_kwargs for end in here] == [
        end.metadata.chat_template_kwargs for end in there
    ]
    assert [end.text.endswith("<think>") for end in here] == [False, True, True, False, True]


def test_an_answer_is_generated_again_with_its_own_options(model: Model) -> None:
    chat = made(model)
    first = chat.ask("why?", max_tokens=2, chat_template_kwargs={"enable_thinking": True})
    chat.regenerate(max_tokens=2)
    assert prompts(chat)[-1].endswith("<think>")
    assert len(first.checkpoint.siblings) == 2
    same = chat.regenerate(max_tokens=2, chat_template_kwargs={"enable_thinking": True})
    assert len(same.checkpoint.siblings) == 3
    other = chat.regenerate(max_tokens=2, chat_template_kwargs={"enable_thinking": False})
    assert not prompts(chat)[-1].endswith("<think>")
    assert chat.turns[0].text == "why?"
    assert len(other.checkpoint.siblings) == 1
    for answer in chat.explore(n=2, max_tokens=2, chat_template_kwargs={"enable_thinking": True}):
        assert answer.checkpoint.parent.text.endswith("<think>")
    edited = chat.edit("and?", max_tokens=2, chat_template_kwargs={"enable_thinking": True})
    assert edited.checkpoint.parent.text.endswith("<think>")
    with pytest.raises(ParameterError, match="regenerate"):
        chat.resume(chat_template_kwargs={"enable_thinking": True})
    with pytest.raises(ParameterError, match="regenerate"):
        chat.fork(chat.turns[-1], token=0, chat_template_kwargs={"enable_thinking": True})


def test_a_chat_has_a_template_of_its_own(model: Model, tiny: ModelMaker, tmp_path: Path) -> None:
    file = tmp_path / "other.jinja"
    file.write_text(OTHER, encoding="utf-8")
    for template, kept in ((file, OTHER), (str(file), OTHER), (OTHER, OTHER), ("other", "other")):
        chat = made(model, chat_template=template)
        assert chat.chat_template == kept
        chat.ask("why?", max_tokens=2)
        assert prompts(chat) == ["<user>why?<assistant>"]
    chat = made(tiny(), chat_template=OTHER)
    chat.ask("why?", max_tokens=2)
    assert len(chat.turns) == 2
    with pytest.raises(
        ChatTemplateError, match="there is no file of that name; those in the model"
    ):
        made(model, chat_template="oter")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"chat_template_kwargs": ["x"]}, "chat_template_kwargs are a mapping of names to values"),
        ({"chat_template_kwargs": {"tools": []}}, "'tools', which is not given so: give tools="),
        ({"chat_template_kwargs": {"messages": []}}, "'messages', which is not given so"),
        ({"chat_template_kwargs": {"a": object()}}, "what the template is given must be plain"),
        ({"tools": ["x"]}, "tools are"),
        ({"tools": {"name": "x"}}, "tools="),
    ],
)
def test_what_are_no_options_is_refused(model: Model, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        made(model, **options)


def test_misspelt_options_are_named(model: Model) -> None:
    chat = made(model, chat_template_kwargs={"enable_thinkng": False})
    with pytest.warns(ParameterWarning, match="did you mean 'enable_thinking'"):
        chat.ask("why?", max_tokens=2)


def test_options_are_saved_and_compared(model: Model, tmp_path: Path) -> None:
    kwargs = {"enable_thinking": True}
    options: dict[str, Any] = {"chat_template": OTHER, "chat_template_kwargs": kwargs}
    chat = made(model, **options)
    with pytest.warns(ParameterWarning, match="enable_thinking"):  # which OTHER does not read
        chat.ask("why?", max_tokens=2)
    chat.save("one", tmp_path)
    opened = Chat.open("one", model, tmp_path)
    assert (opened.chat_template, opened.chat_template_kwargs) == (OTHER, kwargs)
    file = tmp_path / "other.jinja"
    file.write_text(OTHER, encoding="utf-8")
    for same in ({}, options, {"chat_template": file}):
        again = Chat.open_or_create("one", model, tmp_path, **same)
        assert again.chat_template == OTHER
        again.autosave(None)
    for other, what in (
        ({"chat_template": "other"}, "chat_template="),
        ({"chat_template": THINKS}, "chat_template="),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs="),
        ({"chat_template_kwargs": {}}, "chat_template_kwargs="),
    ):
        with pytest.raises(SessionMismatchError, match=f"was made with {what}"):
            Chat.open_or_create("one", model, tmp_path, **other)
    plain = made(model)
    plain.ask("why?", max_tokens=2)
    with pytest.raises(SessionMismatchError, match="another chat_template and other chat_template"):
        plain.save("one", tmp_path, merge=True)


def test_a_saved_template_is_never_a_path(model: Model, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{{ 'secret' }}", encoding="utf-8")
    chat = made(model, chat_template=OTHER)
    chat.ask("why?", max_tokens=2)
    chat._conversation.template = type(chat._conversation.template)(chat_template=str(secret))
    chat.save("one", tmp_path)
    with pytest.raises(ChatTemplateError, match="has no chat template named"):
        Chat.open("one", model, tmp_path)


def test_what_was_saved_before_has_no_options(new_chat: ChatMaker, tmp_path: Path) -> None:
    chat = new_chat()
    chat.ask("why?", max_tokens=2)
    chat.save("one", tmp_path)
    _, _, body, _ = SessionStore(tmp_path).open_chat("one")
    assert not {"chat_template", "chat_template_kwargs", "date"} & {*body}


def test_the_date_stays(tiny: ModelMaker, tmp_path: Path) -> None:
    chat = made(tiny(chat_template=DATED))
    first = chat.ask("why?", grammar='root ::= "I see"')
    date = prompts(chat)[0].partition("\n")[0]
    second = chat.ask("and?", max_tokens=2)
    assert (first.evaluated_again, second.evaluated_again) == (0, 0)
    chat.save("one", tmp_path)
    opened = Chat.open("one", chat.model, tmp_path)
    opened.undo(2)
    opened.ask("now?", max_tokens=2)
    assert prompts(opened)[0].startswith(f"{date}\n")


@pytest.mark.parametrize(
    "shown", ["%d %b %Y", "%Y-%m-%d %H:%M:%S", "%B %d, %Y", "%A, %d %B %Y at %H:%M"]
)
def test_the_date_of_a_session_is_read_back(tiny: ModelMaker, tmp_path: Path, shown: str) -> None:
    told = "{{ strftime_now('" + shown + "') }}"
    model = tiny(chat_template="<|im_start|>system\nToday is " + told + ".<|im_end|>\n" + CHATML)
    chat = made(model)
    date = datetime(2024, 2, 29, 13, 5)
    chat._conversation.template = replace(chat._conversation.template, date=date)
    chat.ask("why?", grammar='root ::= "I see"')
    chat.save_session(tmp_path / "old.session")
    later = made(model)
    later.load_session(tmp_path / "old.session")
    assert later.messages == chat.messages
    assert later.ask("and?", max_tokens=2).evaluated_again == 0
    assert f"Today is {date.strftime(shown)}." in later.context.text()


def test_options_are_recorded(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "one.mullama.json"
    chat = made(model, chat_template_kwargs={"enable_thinking": True})
    chat.ask("why?", max_tokens=2, seed=1)
    chat.ask("and?", max_tokens=2, seed=1, chat_template_kwargs={"enable_thinking": False})
    record(chat, path)
    assert json.loads(path.read_text("utf-8"))["template"] == {
        "chat_template_kwargs": {"enable_thinking": True}
    }
    assert replay(path, model, "exact").passed
    assert regress(chat, path, "exact").passed
    before = [entry.tokens for entry in record_again(path, model).entries]
    assert before == [node.tokens for node in chat.tree]
    other = made(model)
    other.ask("why?", max_tokens=2, seed=1, chat_template_kwargs={"enable_thinking": True})
    problems = str(regress(other, path))
    assert "the chat: chat_template_kwargs {'enable_thinking': True} recorded" in problems
    plain = made(model)
    plain.ask("why?", max_tokens=2, seed=1)
    record(plain, path)
    problems = str(regress(other, path))
    assert "chat_template_kwargs None recorded, {'enable_thinking': True} here" in problems


def test_control_tokens_stay_through_turns(tiny: ModelMaker) -> None:
    model = tiny(chat_template=CHATML, control_tokens=("[MARK]", "[/MARK]"))
    chat = made(model)
    first = chat.ask("why?", max_tokens=3, logit_bias={FIRST_OWN: 1e4})
    assert first.text == first.raw == "[MARK]" * 3
    assert chat.messages[-1]["content"] == "[MARK]" * 3
    second = chat.ask("and [MARK]?", max_tokens=2)
    assert second.evaluated_again == 0
    assert chat.context.tokens.count(FIRST_OWN) == 3, "what is typed stays text"


def test_there_is_a_question_to_put_otherwise(model: Model) -> None:
    chat = made(model)
    chat.context.evaluate("text")
    chat.tree.commit()
    with pytest.raises(HistoryError, match="changes how a question is put"):
        chat.explore(n=2, max_tokens=1, chat_template_kwargs={"enable_thinking": True})


def test_damaged_options_are_refused(model: Model, tmp_path: Path) -> None:
    chat = made(model)
    chat.ask("why?", max_tokens=2)
    chat._conversation.template = type(chat._conversation.template)(chat_template=OTHER)
    settings = chat._settings
    for wrong in ({"chat_template": 5}, {"date": "yesterday"}, {"chat_template_kwargs": "x"}):
        chat._saves._settings = lambda wrong=wrong: lambda: {**settings(), **wrong}
        chat.save("one", tmp_path, replace=True)
        with pytest.raises(SessionFormatError, match=r"damaged|none does"):
            Chat.open("one", model, tmp_path)
