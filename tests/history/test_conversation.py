"""One truth: turns, messages, panel, HTML and export say the same, whatever the template does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ModelMaker
from history.said_walk import HOT, TEMPLATES, Walk
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mullama_nb import Chat
from mullama_nb.errors import ChatTemplateError, HistoryError, ParameterWarning
from mullama_nb.history.drawing import label
from mullama_nb.testing import record, record_again, replay


@pytest.mark.slow
@pytest.mark.parametrize("template", [*TEMPLATES])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), system=st.sampled_from([None, "be brief"]))
@example(seed=32768, system="be brief")  # another one, which cannot stand alone, and undo
@example(seed=4391, system="be brief")  # what a piece of a question goes on from is pruned
@example(seed=2152022831, system=None)  # a prefilled answer is pruned, and its question answered
def test_whatever_is_done_all_say_the_same(
    tiny: ModelMaker,
    tmp_path_factory: pytest.TempPathFactory,
    template: str,
    seed: int,
    system: str | None,
) -> None:
    model = tiny("llama", chat_template=TEMPLATES[template])
    chat = Chat(model, system, n_ctx=2048, n_threads=1, n_threads_batch=1, seed=1)
    walk = Walk(chat, seed, tmp_path_factory.mktemp("walk"))
    for _ in range(12):
        walk.step()
    walk.chat.context.close()


Maker = Callable[..., Chat]


@pytest.fixture
def talk(tiny: ModelMaker) -> Maker:
    """Make a chat with one of the templates."""

    def make(template: str, system: str | None = None) -> Chat:
        model = tiny("llama", chat_template=TEMPLATES[template])
        return Chat(model, system, n_ctx=1024, n_threads=1, n_threads_batch=1, seed=1)

    return make


def contents(chat: Chat) -> list[str]:
    return [turn.text for turn in chat.turns]


@pytest.mark.slow
@pytest.mark.parametrize("template", [*TEMPLATES])
def test_what_was_done_is_recorded_and_led_again(
    talk: Maker, tmp_path: Path, template: str
) -> None:
    chat = talk(template)
    walk = Walk(chat, 2, tmp_path)
    for _ in range(8):
        walk.step()
    chat, path = walk.chat, tmp_path / "walk.mullama.json"
    recording = record(chat, path)
    assert all(entry.is_rendered in (True, None) for entry in recording.entries)
    assert replay(path, chat.model, "exact").is_identical
    record_again(path, chat.model)
    assert replay(path, chat.model, "exact").is_identical


@pytest.mark.parametrize("template", ["appends", "counts", "strips thoughts", "merges"])
def test_a_question_behind_one_without_an_answer(talk: Maker, template: str) -> None:
    chat = talk(template)
    chat.ask("why?", **HOT)
    chat.explore("how?", n=2, **HOT)  # none of which is kept
    answer = chat.ask("when?", **HOT)
    assert contents(chat)[2:] == ["how?", "when?", answer.text]
    assert contents(chat) == [message["content"] for message in chat.messages]
    said = {"why?", "how?", "when?"}
    shown = {label(c).removeprefix("… ") for c in chat.tree if c.metadata.role == "user"}
    assert shown == said  # and no piece of the template
    assert chat.undo_steps == 3
    chat.undo()
    assert contents(chat)[2:] == ["how?"]
    chat.redo()
    assert contents(chat)[2:] == ["how?", "when?", answer.text]


def test_a_click_on_a_question_that_was_cut_shows_it(talk: Maker) -> None:
    chat = talk("appends")
    chat.explore("how?", n=2, **HOT)
    chat.ask("when?", **HOT)
    for checkpoint in chat.tree:
        chat.checkout(checkpoint.id)
        if checkpoint.metadata.role == "user":
            assert label(checkpoint).removeprefix("… ") == contents(chat)[-1]


def test_where_two_questions_are_refused_the_way_out_is_named(talk: Maker) -> None:
    chat = talk("alternates")
    chat.explore("how?", n=2, **HOT)
    with pytest.raises(ChatTemplateError, match=r"resume\(\) answers it, undo\(\) takes it back"):
        chat.ask("when?", **HOT)
    answer = chat.resume(**HOT)
    assert contents(chat) == ["how?", answer.text]
    assert chat.ask("when?", **HOT).role == "assistant"


@pytest.mark.slow
@pytest.mark.parametrize("template", [*TEMPLATES])
def test_an_answer_goes_on_from_what_was_given(talk: Maker, tmp_path: Path, template: str) -> None:
    chat = talk(template)
    told = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "According to"}]
    first = chat.ask(told, **HOT)
    assert contents(chat) == ["why?", first.text]
    assert first.text.startswith("According to")
    assert len(first.text) > len("According to")
    assert first.finish_reason == "length"
    assert chat.resume(**HOT).text.startswith(first.text[:-1])  # a character may be completed
    second = chat.regenerate(**HOT)
    assert second.text.startswith("According to")
    assert second.text != first.text
    assert all(answer.text.startswith("According to") for answer in chat.explore(n=2, **HOT))
    chat.checkout(second)
    forked = chat.fork(second, token=-1, **HOT)
    assert forked.text.startswith("According to")
    chat.save("begun", tmp_path)
    again = Chat.open("begun", chat.model, tmp_path)
    assert again.messages == chat.messages
    assert again.regenerate(**HOT).text.startswith("According to")
    assert chat.edit("Because", second).text == "Because"
    assert contents(chat) == ["why?", "Because"]
    answers = chat.explore(told, n=3, **HOT)
    assert all(answer.text.startswith("According to") for answer in answers)
    kept = answers.drop_others(1)
    assert contents(chat)[-2:] == ["why?", kept.text]
    assert [other.checkpoint in chat.tree for other in answers] == [False, True, False]
    chat.undo()
    assert contents(chat) == ["why?", "Because"]


def test_a_given_answer_stands_in_no_thought(talk: Maker) -> None:
    chat = talk("opens a thought")
    chat.ask("why?", **HOT)
    assert "<t>" in chat.context.text()
    chat.edit("Because", chat.turns[-1])
    rendered = chat.model.apply_chat_template(chat.messages, add_generation_prompt=False)
    assert rendered.startswith(chat.context.text())
    assert chat.context.text().endswith("assistant\nBecause")
    assert chat.ask("and?", **HOT).evaluated_again == 0
    replayed = Chat.from_messages(chat.model, chat.messages[:2], n_ctx=512, n_threads=1)
    assert replayed.context.text() == chat.model.detokenize(
        chat.tree.tokens(chat.turns[1].checkpoint), special=True
    )
    other = chat.regenerate(chat.turns[1], **HOT)  # the model's own thinks again
    assert len(chat.turns) == 2
    assert other.text not in rendered


@pytest.mark.parametrize("template", ["appends", "alternates"])
def test_at_once_is_as_one_by_one(talk: Maker, template: str) -> None:
    told = [
        {"role": "user", "content": "why?"},
        {"role": "assistant", "content": "Because."},
        {"role": "user", "content": "how?"},
    ]
    at_once, one_by_one = talk(template, "be brief"), talk(template, "be brief")
    at_once.ask(told, **HOT)
    for message in told[:2]:
        one_by_one.replay([message])
    one_by_one.ask("how?", **HOT)
    assert at_once.context.tokens == one_by_one.context.tokens
    assert [c.tokens for c in at_once.tree] == [c.tokens for c in one_by_one.tree]
    assert [c.metadata.role for c in at_once.tree] == [t.role for t in at_once.turns]


@pytest.mark.slow
@pytest.mark.parametrize("template", [*TEMPLATES])
def test_what_was_pruned_is_still_said(talk: Maker, tmp_path: Path, template: str) -> None:
    chat = talk(template)
    for question in ("one?", "two?", "three?"):
        chat.ask(question, max_tokens=2)
    said, turns = contents(chat), chat.turns
    for turn in turns[:4]:  # where it is not the way to the head
        for part in turn.parts:
            if part in chat.tree and not part.is_ancestor_of(chat.head):
                chat.tree.prune(part)
    assert contents(chat) == said
    chat.save("pruned", tmp_path)
    assert contents(Chat.open("pruned", chat.model, tmp_path)) == said
    for index in (1, 2, 3):
        chat.checkout(turns[-1])
        assert contents(chat) == said
        chat.checkout(chat.turns[index])
        assert contents(chat) == said[: index + 1]
        chat.checkout(turns[-1])
        chat.edit("other", chat.turns[index], max_tokens=2)
        assert contents(chat)[: index + 1] == [*said[:index], "other"]
    chat.checkout(turns[-1])
    again = chat.regenerate(chat.turns[3], max_tokens=2)
    assert contents(chat) == [*said[:3], again.text]


@pytest.mark.parametrize("template", [*TEMPLATES])
def test_nothing_is_noted_twice(talk: Maker, template: str) -> None:
    chat = talk(template)
    for question in ("one?", "two?", "three?"):
        chat.ask(question, max_tokens=2)
    assert all(checkpoint.metadata.history is None for checkpoint in chat.tree)


def test_undo_behind_trim_goes_back_one_question(talk: Maker) -> None:
    chat = talk("counts", "be brief")
    for question in ("one?", "two?", "three?"):
        chat.ask(question, max_tokens=2)
    said = contents(chat)
    chat.trim(keep=2)
    assert contents(chat) == ["be brief", *said[3:]]
    assert chat.undo_steps == 2
    chat.undo()
    assert contents(chat) == ["be brief", *said[3:5]]


@pytest.mark.slow
@pytest.mark.parametrize("template", ["appends", "moves the system message"])
@pytest.mark.parametrize("system", ["be brief", None])
def test_another_system_message_is_a_branch_at_the_root(
    talk: Maker, template: str, system: str | None, tmp_path: Path
) -> None:
    """Also where the template lets none stand alone, and where there was none."""
    chat = talk(template, system)
    first = chat.ask("why?", **HOT)
    chat.ask("and how?", **HOT)
    said, end = chat.messages, chat.head
    again = chat.edit("be long", "ROOT" if system is None else chat.turns[0], **HOT)
    assert contents(chat)[:2] == ["be long", "why?"]
    assert len(chat.turns) == 3
    assert again.checkpoint is chat.head
    text = chat.context.text()
    assert "be long" in text
    assert "be brief" not in text
    # What is done there keeps to it.
    chat.ask("where?", **HOT)
    assert contents(chat)[:2] == ["be long", "why?"]
    chat.edit("who?", chat.turns[1], **HOT)
    assert contents(chat)[:2] == ["be long", "who?"]
    assert "be brief" not in chat.context.text()
    with pytest.warns(ParameterWarning, match="leaves out"):
        chat.regenerate(**HOT, chat_template_kwargs={"other": 1})
    assert contents(chat)[:2] == ["be long", "who?"]
    assert "be brief" not in chat.context.text()
    for question in ("when?", "which?"):
        chat.ask(question, **HOT)
    other = chat.messages
    chat.trim(keep=1)
    assert contents(chat)[:2] == ["be long", "which?"]
    assert "be brief" not in chat.context.text()
    # And what was said before is as it was, here and when it is kept.
    chat.checkout(end)
    assert chat.messages == said
    assert first.text == chat.turns[-3].text
    chat.save("kept", tmp_path)
    kept = Chat.open("kept", chat.model, tmp_path)
    assert kept.messages == said
    chat.export(tmp_path / "kept.json")
    read = Chat.from_transcript(chat.model, tmp_path / "kept.json", n_ctx=1024, n_threads=1)
    assert [(m["role"], m["content"]) for m in read.messages] == [
        (m["role"], m["content"]) for m in said
    ]
    leaves = []
    for leaf in read.tree.leaves():
        read.checkout(leaf)
        leaves.append(contents(read))
    assert [m["content"] for m in other] in leaves


def test_a_system_message_is_replaced_before_anything_is_asked(talk: Maker) -> None:
    for template in ("appends", "moves the system message"):
        chat = talk(template, "be brief")
        turn = chat.edit("be long", "ROOT")
        assert (turn.role, turn.text) == ("system", "be long")
        assert contents(chat) == ["be long"]
        chat.ask("why?", **HOT)
        assert contents(chat)[:2] == ["be long", "why?"]
        assert "be brief" not in chat.context.text()


def test_a_system_message_that_cannot_stand_alone_needs_a_question(talk: Maker) -> None:
    chat = talk("moves the system message", "be brief")
    chat.ask("why?", **HOT)
    chat.undo()
    with pytest.raises(HistoryError, match="ask\\(\\) something first"):
        chat.edit("be long", "ROOT")
    assert contents(chat) == ["be brief"]


@pytest.mark.parametrize("template", ["appends", "counts", "strips thoughts"])
def test_the_question_that_is_stood_on_is_answered(talk: Maker, template: str) -> None:
    chat = talk(template, "be brief")
    for question in ("one?", "two?"):
        chat.ask(question, **HOT)
    question, answer = chat.turns[-2], chat.turns[-1]
    chat.checkout(question)
    for again in (chat.regenerate(**HOT), chat.regenerate(question, **HOT), chat.regenerate(**HOT)):
        assert contents(chat)[:-1] == ["be brief", "one?", chat.turns[2].text, "two?"]
        assert again.checkpoint.parent is question.checkpoint
    assert len(answer.checkpoint.siblings) == 4
    chat.explore("three?", 2, **HOT)
    assert chat.turns[-1].text == "three?"
    chat.edit("four?", **HOT)
    assert contents(chat)[-2] == "four?"
    assert "three?" not in contents(chat)


def test_a_tool_result_that_is_edited_stays_one(talk: Maker) -> None:
    chat = talk("appends")
    result = {"role": "tool", "name": "clock", "content": "noon"}
    chat.ask([{"role": "user", "content": "what time?"}, result], **HOT)
    chat.edit("midnight", chat.turns[1], **HOT)
    assert chat.messages[1] == {**result, "content": "midnight"}


@pytest.mark.parametrize("template", ["counts", "strips thoughts"])
def test_notes_of_earlier_versions_say_the_same(talk: Maker, template: str) -> None:
    chat = talk(template, "be brief")
    for question in ("one?", "two?", "three?"):
        chat.ask(question, max_tokens=2)
    turns = chat.turns
    for i, turn in enumerate(turns):
        if turn.role == "user":
            turn.checkpoint.metadata["history"] = [each.message for each in turns[: i + 1]]
    assert [(t.text, t.checkpoint) for t in chat.turns] == [(t.text, t.checkpoint) for t in turns]
    before = [turns[0].message, *(each.message for each in turns[3:5])]
    turns[5].checkpoint.metadata["history"] = [*before, turns[5].message]  # as trim noted it
    assert contents(chat) == [turns[i].text for i in (0, 3, 4, 5, 6)]
