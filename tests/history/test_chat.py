"""Chats: every message a checkpoint, and each with as many siblings as wanted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from tiny_models import CHATML
from waiting import wait_until

from mullama_nb import Chat, Context, ContextParams, Model
from mullama_nb.errors import (
    ChatTemplateError,
    ContextFullError,
    HistoryError,
    MullamaError,
    ParameterError,
    RefError,
)

from .conftest import ChatMaker

HOT = {"max_tokens": 5, "temperature": 1.5}
DATED = CHATML.replace("{%- for", "{{ messages | length }} {%- for", 1)


def test_a_turn_is_two_checkpoints(chat: Chat) -> None:
    turn = chat.ask("why?", max_tokens=4)
    assert [c.metadata["role"] for c in chat.tree] == ["user", "assistant"]
    assert (turn.role, turn.finish_reason, len(turn.tokens)) == ("assistant", "length", 4)
    assert len(turn.logprobs) == 4
    assert turn.text not in repr(turn)
    assert chat.messages == [
        {"role": "user", "content": "why?"},
        {"role": "assistant", "content": turn.text},
    ]


def test_only_what_is_new_is_evaluated(smollm2: Model) -> None:
    chat = Chat(smollm2, "Be brief.", n_ctx=512)
    first = chat.ask("Why?", max_tokens=4)
    held = chat.context.token_count()
    second = chat.ask("And how?", max_tokens=4)
    assert first.reused == 0
    assert (second.reused, second.evaluated_again) == (held, 0)
    rendered = smollm2.apply_chat_template(chat.messages[:-1])
    assert chat.context.text().startswith(str(rendered))


def test_regenerate_draws_another_answer_beside(chat: Chat) -> None:
    chat.ask("why?", **HOT)
    again = chat.regenerate(**HOT)
    first, second = chat.tree.siblings()
    assert second is again.checkpoint
    assert first.tokens != second.tokens
    assert second.metadata["sibling"] == 1


def test_the_same_chat_says_the_same(new_chat: ChatMaker) -> None:
    said = []
    for _ in range(2):
        chat = new_chat(seed=3)
        said.append((chat.ask("why?", **HOT).tokens, chat.regenerate(**HOT).tokens))
    assert said[0] == said[1]
    assert new_chat(seed=4).ask("why?", **HOT).tokens != said[0][0]


def test_edit_makes_a_sibling_question_or_answer(chat: Chat) -> None:
    answer = chat.ask("why?", max_tokens=3)
    chat.edit("how?", max_tokens=3)
    assert [m["content"] for m in chat.messages[::2]] == ["how?"]
    assert [c.metadata["message"]["content"] for c in chat.tree.root.children] == ["why?", "how?"]
    edited = chat.edit("because", answer)
    assert edited.text == "because"
    assert [c.is_unfinished for c in edited.checkpoint.siblings] == [True, False]
    assert chat.messages[-1] == {"role": "assistant", "content": "because"}


def test_resume_goes_on_as_if_nothing_had_been(new_chat: ChatMaker) -> None:
    whole = new_chat().ask("why?", max_tokens=8, temperature=1.0)
    chat = new_chat()
    chat.ask("why?", max_tokens=3, temperature=1.0)
    resumed = chat.resume(max_tokens=5, temperature=1.0)
    assert resumed.tokens == whole.tokens
    assert len(chat.turns) == 2


def test_resume_needs_something_unfinished(chat: Chat) -> None:
    with pytest.raises(HistoryError, match="ask"):
        chat.resume()


def test_undo_and_redo_go_by_turns(chat: Chat) -> None:
    chat.ask("one?", max_tokens=3)
    chat.ask("two?", max_tokens=3)
    logits = chat.context.logits
    assert (chat.undo_steps, chat.redo_steps) == (2, 0)
    left = chat.undo()
    assert left is not None
    assert (left.role, len(chat.turns), chat.redo_steps) == ("assistant", 2, 1)
    assert chat.undo() is None
    chat.redo(2)
    assert np.array_equal(chat.context.logits, logits)


def test_alternatives_have_the_probabilities_that_they_had(chat: Chat) -> None:
    turn = chat.ask("why?", max_tokens=5, temperature=1.0)
    for token in (0, 2, -1):
        likely = {t.id: t.probability for t in turn.alternatives(token, k=512)}
        chosen = turn.tokens[token]
        assert np.log(likely[chosen]) == pytest.approx(turn.logprobs[token], abs=1e-5)
    assert chat.tree.head is turn.checkpoint
    with pytest.raises(ParameterError, match="not in the message"):
        turn.alternatives(5)


def test_fork_goes_another_way_from_inside(chat: Chat) -> None:
    turn = chat.ask("why?", max_tokens=6)
    tokens = turn.tokens
    other = next(t.id for t in turn.alternatives(2) if t.id != tokens[2])
    forked = chat.fork(turn, token=2, choose=other, max_tokens=3)
    assert forked.tokens[:3] == (*tokens[:2], other)
    assert turn.tokens == tokens
    assert len(chat.messages) == 2


def test_at_visits_and_comes_back(chat: Chat) -> None:
    chat.ask("one?", max_tokens=3)
    chat.tag("start")
    chat.ask("two?", max_tokens=3)
    home = chat.head
    with chat.at("start"):
        aside = chat.ask("aside?", max_tokens=3)
        assert len(chat.turns) == 4
    assert chat.head is home
    assert aside.checkpoint in chat.tree


def test_score_leaves_nothing(chat: Chat) -> None:
    chat.ask("why?", max_tokens=3)
    logits, n_checkpoints = chat.context.logits, len(chat.tree)
    assert chat.score(" because") < 0
    assert np.array_equal(chat.context.logits, logits)
    assert len(chat.tree) == n_checkpoints


def test_a_full_context_says_how_many_tokens_are_missing(new_chat: ChatMaker) -> None:
    chat = new_chat(n_ctx=64)
    chat.ask("hi", max_tokens=3)
    held = chat.context.token_count()
    with pytest.raises(ContextFullError, match=r"too many.*trim\(\)") as caught:
        chat.ask("word " * 80)
    assert caught.value.needed > caught.value.free == 64 - held
    assert chat.context.token_count() == held


def test_trim_makes_room_and_keeps_the_old_conversation(new_chat: ChatMaker) -> None:
    chat = new_chat("be brief")
    for question in ("one?", "two?", "three?"):
        chat.ask(question, max_tokens=3)
    old, before = chat.head, chat.context.token_count()
    freed = chat.trim(keep=1)
    assert chat.context.token_count() == before - freed < before
    assert [m["content"] for m in chat.messages[:2]] == ["be brief", "three?"]
    assert old in chat.tree
    chat.ask("four?", max_tokens=3)
    chat.checkout(old)
    assert len(chat.messages) == 7


@pytest.mark.parametrize("keep", [1, 2, None])
@pytest.mark.parametrize("system", [None, "be brief"])
def test_what_trim_evaluates_again_is_noted(
    new_chat: ChatMaker, keep: int | None, system: str | None
) -> None:
    chat = new_chat(system, n_ctx=110)
    for question in ("one?", "two?", "three?"):
        chat.ask(question, max_tokens=2)
        chat.resume(max_tokens=2)
    n_before = chat.context.tally.n_tokens
    chat.trim(keep)
    turns = chat.turns[system is not None :]
    n_again = chat.context.tally.n_tokens - n_before
    assert n_again == sum(len(turn.tokens) for turn in turns) > 0
    for turn in turns:
        again = turn.checkpoint.metadata.evaluated_again
        assert again["tokens"] == len(turn.tokens)
        assert "dropped to make room" in again["why"]


def test_a_template_that_rewrites_says_what_it_cost(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=DATED), n_ctx=512, n_threads=1, n_threads_batch=1)
    chat.ask("one?", max_tokens=3)
    turn = chat.ask("two?", max_tokens=3)
    assert turn.evaluated_again > 0
    assert "evaluated again" in repr(turn)
    assert [m["content"] for m in chat.messages[::2]] == ["one?", "two?"]
    chat.undo()
    assert [m["content"] for m in chat.messages[::2]] == ["one?"]


def test_tools_pass_through(tiny: ModelMaker) -> None:
    template = "{{ tools | length if tools else 0 }}" + CHATML
    chat = Chat(
        tiny("llama", chat_template=template),
        tools=[{"type": "function", "function": {"name": "clock"}}],
        n_ctx=512,
        n_threads=1,
        n_threads_batch=1,
    )
    chat.ask("what time?", max_tokens=2)
    assert chat.context.text().startswith("1<|im_start|>user")
    chat.ask({"role": "tool", "content": "noon"}, max_tokens=2)
    assert [m["role"] for m in chat.messages] == ["user", "assistant", "tool", "assistant"]


def test_a_conversation_from_elsewhere(chat_model: Model) -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "why?"},
        {"role": "assistant", "content": "because"},
    ]
    chat = Chat.from_messages(chat_model, messages, n_ctx=256, n_threads=1, n_threads_batch=1)
    assert chat.messages == messages
    assert [c.metadata["role"] for c in chat.tree] == ["system", "user", "assistant"]
    assert chat.ask("and?", max_tokens=2).reused == sum(len(c.tokens) for c in chat.tree.path()[:3])


def test_options_are_checked_before_anything_happens(chat_model: Model, chat: Chat) -> None:
    with pytest.raises(TypeError, match="did you mean 'temperature'"):
        chat.ask("why?", temprature=1)
    with pytest.raises(TypeError, match="temprature"):
        Chat(chat_model, temprature=1)
    with pytest.raises(ParameterError, match="temperature"):
        chat.ask("why?", temperature=-1)
    assert len(chat.tree) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("how?", {"tempratur": 1}),
        ("how?", {"temperature": -1}),
        ("how?", {"grammar": "root ::= missing"}),
        ("word " * 2000, {}),
        (5, {}),
        ([], {}),
        ([7], {}),
    ],
)
@pytest.mark.parametrize("method", ["ask", "edit", "explore"])
def test_what_is_refused_leaves_the_chat_where_it_was(
    chat: Chat, method: str, text: Any, options: dict[str, Any]
) -> None:
    chat.ask("why?", max_tokens=4)
    chat.ask("and?", max_tokens=4)
    chat.undo()
    head, n, tokens = chat.head, len(chat.tree), chat.context.tokens
    with pytest.raises((MullamaError, TypeError)):
        getattr(chat, method)(text, **options)
    assert (chat.head, len(chat.tree), chat.context.tokens) == (head, n, tokens)
    assert chat.redo_steps == 1


def test_an_exploration_of_nothing_is_refused_before_anything_is_said(chat: Chat) -> None:
    for options in ({"n": 0}, {"n": 2, "stop": ""}, {"n": 2, "max_tokens": -1}):
        with pytest.raises(ParameterError):
            chat.explore("why?", **options)
    assert chat.head.is_root


def test_what_could_not_be_saved_is_refused_when_it_is_said(chat: Chat) -> None:
    for wrong in (object(), {1, 2}, float("nan"), b"x"):
        message = {"role": "user", "content": "why?", "when": wrong}
        for say in (chat.ask, chat.explore, lambda m: chat.replay([m])):
            with pytest.raises(ParameterError, match="JSON"):
                say(message)
        with pytest.raises(ParameterError, match="JSON"):
            chat.tree.commit(note=wrong, allow_empty=True)
    for half in ({"stop": "\ud800"}, {"grammar": 'root ::= "\ud800"'}):
        with pytest.raises(ParameterError, match="unpaired surrogate"):
            chat.ask("why?", **half)
    with pytest.raises(ParameterError, match="unpaired surrogate"):
        chat.ask("\ud800")
    assert (len(chat.tree), chat.context.token_count()) == (0, 0)
    assert chat.tree.root.metadata == {}


def test_a_note_that_cannot_be_kept_leaves_the_chat_where_it_was(tiny: ModelMaker) -> None:
    chat = Chat(tiny(chat_template=DATED), n_ctx=256, n_threads=1)
    chat.ask("why?", max_tokens=4)
    chat.turns[0].checkpoint.metadata["message"]["name"] = "\ud800"  # as from a stranger's store
    head, n, tokens = chat.head, len(chat.tree), chat.context.tokens
    with pytest.raises(ParameterError, match="unpaired surrogate"):
        chat.edit("how?", max_tokens=4)
    assert (chat.head, len(chat.tree), chat.context.tokens) == (head, n, tokens)


def test_what_a_chat_is_made_with_is_checked(chat_model: Model) -> None:
    system: Any
    tools: Any
    for system in (5, ["x"], "\ud800"):
        with pytest.raises(ParameterError):
            Chat(chat_model, system, n_ctx=64)
    for tools in ("x", [1], [{"f": object()}]):
        with pytest.raises(ParameterError):
            Chat(chat_model, tools=tools, n_ctx=64)
    with pytest.raises(ChatTemplateError, match='no "content"'):
        Chat.from_messages(chat_model, [{"role": "system"}], n_ctx=64)


def test_messages_of_another_kind_are_named(chat: Chat) -> None:
    for wrong in ("abc", [1], {"role": "user"}):
        with pytest.raises(ParameterError, match="messages are a list"):
            chat.replay(wrong)


def test_a_message_goes_by_turn_checkpoint_or_name(chat: Chat) -> None:
    first = chat.ask("why?", max_tokens=6)
    chat.tag("first")
    question = first.checkpoint.parent
    chat.ask("and?", max_tokens=4)
    for ref in (first, first.checkpoint, "first", first.checkpoint.short_id):
        assert chat.regenerate(ref, max_tokens=2).checkpoint.parent is question
        assert chat.fork(ref, token=0, max_tokens=2).checkpoint in chat.tree
        assert chat.alternatives(ref, 0, k=3) == chat.alternatives(first, 0, k=3)
        assert chat.edit("Because.", ref).checkpoint.parent is question
    with pytest.raises(RefError, match="'second'"):
        chat.fork("second", token=0)


def test_a_way_that_cannot_be_gone_leaves_the_chat_where_it_was(chat: Chat) -> None:
    chat.ask("why?", max_tokens=6)
    last = chat.ask("and?", max_tokens=6)
    with pytest.raises(ParameterError):
        chat.fork("HEAD~2", token=2, choose=10**6)
    assert chat.head is last.checkpoint


def test_snapshot_memory_works_behind_the_same_methods(tiny: ModelMaker) -> None:
    model = tiny("mamba", chat_template=CHATML)
    chat = Chat(Context(model, ContextParams(n_ctx=256, n_threads=1, n_threads_batch=1)))
    chat.ask("one?", max_tokens=3)
    logits, first = chat.context.logits, chat.head
    chat.ask("two?", max_tokens=3)
    chat.undo()
    assert np.array_equal(chat.context.logits, logits)
    chat.regenerate(**HOT)
    chat.checkout(first)
    assert np.array_equal(chat.context.logits, logits)
    assert chat.tree.keeps_snapshots


def test_export(chat: Chat, tmp_path: Path) -> None:
    answer = chat.ask("why?", max_tokens=3)
    chat.export(tmp_path / "a.md")
    assert (tmp_path / "a.md").read_text("utf-8").startswith("**user**\n\nwhy?\n\n---")
    chat.export(tmp_path / "a.json")
    written = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert [c["id"] for c in written["checkpoints"]] == [c.id for c in chat.tree]
    assert written["head"] == answer.checkpoint.id
    with pytest.raises(ParameterError, match="md or"):
        chat.export(tmp_path / "a.docx")


def test_async_forms(chat: Chat) -> None:
    async def talk() -> list[str]:
        turn = await chat.aask("one?", max_tokens=3)
        said = [token.text async for token in chat.astream("two?", max_tokens=3)]
        assert "".join(said) == chat.turns[-1].text
        answers = await chat.aexplore("three?", n=2, max_tokens=2)
        return [turn.text, *(answer.text for answer in answers)]

    assert len(asyncio.run(talk())) == 3
    assert chat.undo_steps == 3


def test_cancelling_keeps_what_was_said(chat: Chat) -> None:
    def listen(_token: object) -> None:
        if chat.context.token_count() > 40:
            wait_until(lambda: chat.tree._workspace.lock.is_stopped)

    async def talk() -> None:
        asking = asyncio.ensure_future(chat.aask("why?", max_tokens=400, on_token=listen))
        while chat.context.token_count() < 40:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(talk())
    assert chat.head.metadata["finish_reason"] == "stopped"
    assert chat.head.is_unfinished
    chat.resume(max_tokens=2)
