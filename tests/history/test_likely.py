"""What could have been said is looked at without a trace, and gone on with exactly."""

from __future__ import annotations

import copy
import html
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from history.conftest import ChatMaker
from template_models import make_template_model
from tiny_models import CHATML
from tree_walk import Walk

from mullama_nb import Chat, Context, ContextParams, ControlVector, Model
from mullama_nb.engine.continuations import Continuation
from mullama_nb.errors import (
    ContextFullError,
    CopyError,
    HistoryError,
    ParameterError,
)
from mullama_nb.history.likely import Likely
from mullama_nb.testing import record, replay

TEMPLATES = Path(__file__).parents[1] / "templates"
EVERY = ["llama", "qwen2vl", "gemma3", "gemma2", "mamba", "mamba2", "lfm2", "jamba", "lfm2swa"]
WIDE: dict[str, Any] = {"depth": 3, "min_p": 0.0, "width": 2}

every = pytest.mark.parametrize("architecture", EVERY)
one_of_each = pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba", "lfm2"])


def chat_of(tiny: ModelMaker, architecture: str, **options: Any) -> Chat:
    defaults = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1, "seed": 1}
    return Chat(tiny(architecture, chat_template=CHATML), **(defaults | options))


def state(chat: Chat) -> tuple[Any, ...]:
    """All that a look must leave alone."""
    return (
        *(chat.head, [*chat.tree], chat.tree.redo_path, chat.context.tokens, chat.adapters),
        *(chat.context.capture().data.tobytes(), chat.context.logits.tobytes()),
        chat._workspace.adapters.are_chosen,
    )


def tokens_of(likely: Likely) -> list[list[int]]:
    return [[each.token for each in way] for way in likely.branches]


# -- look ---------------------------------------------------------------------------------------


@every
def test_a_look_leaves_no_trace(tiny: ModelMaker, architecture: str) -> None:
    chat = chat_of(tiny, architecture)
    first = chat.ask("first", max_tokens=6)
    other = chat.regenerate(max_tokens=6, temperature=1.0)
    chat.checkout(first)
    chat.ask("second", max_tokens=5)
    chat.undo()
    before = state(chat)
    for at in (None, first, first.checkpoint.id, other, chat.turns[0], "HEAD"):
        likely = chat.likely(**WIDE, at=at)
        assert len(likely.branches) == 8 or any(way[-1].is_end for way in likely.branches)
        assert state(chat) == before
    assert chat.redo() is not None


@one_of_each
def test_places_are_what_they_say(tiny: ModelMaker, architecture: str) -> None:
    chat = chat_of(tiny, architecture)
    answer = chat.ask("first", max_tokens=6)
    question = chat.turns[-2]
    here = chat.likely(**WIDE)
    behind = chat.likely(**WIDE, at=answer)
    assert (here.roots, here.checkpoint, here.token) == (behind.roots, chat.head, None)
    start = chat.likely(**WIDE, at=answer, token=0)
    assert tokens_of(start) == tokens_of(chat.likely(**WIDE, at=question))
    chat.ask("second", max_tokens=3)
    assert tokens_of(chat.likely(**WIDE, at=answer)) == tokens_of(here)
    for index in (2, -1):
        inside = chat.likely(1, min_p=0, width=400, at=answer, token=index)
        (chosen,) = (root for root in inside.roots if root.token == answer.tokens[index])
        assert chosen.probability == pytest.approx(np.exp(answer.logprobs[index]), rel=0.01)


def test_tokens_that_are_not_noted_yet_count(chat: Chat) -> None:
    chat.ask("first", max_tokens=4)
    chat.context.evaluate([300, 301])
    tokens = chat.context.tokens
    likely = chat.likely(**WIDE)
    assert likely.checkpoint.stop == len(tokens)
    assert likely.checkpoint is chat.head
    expected = chat.context.continuations(**WIDE)
    assert (likely.roots, likely.n_evaluated) == (expected.roots, expected.n_evaluated)


def test_a_window_beside_recurrent_memory_is_left_as_it_was(tiny: ModelMaker) -> None:
    chat = chat_of(tiny, "lfm2swa")
    answer = chat.ask("first " * 12, max_tokens=40)
    before = state(chat)
    for token in (0, 3, -1, None):
        chat.likely(**WIDE, at=answer, token=token)
        assert state(chat) == before


def joints(likely: Likely) -> list[float]:
    return [way[-1].joint for way in likely.branches]


@pytest.mark.parametrize("architecture", ["llama", "mamba"])
def test_a_look_uses_what_the_message_was_made_with(tiny: ModelMaker, architecture: str) -> None:
    chat = chat_of(tiny, architecture)
    rows = np.random.default_rng(0).normal(0, 2, (chat.model.n_layers, chat.model.n_embd))
    rows[0] = 0
    calm = ControlVector.from_array(rows, name="calm")
    plain = chat.ask("first", max_tokens=5)
    as_plain = joints(chat.likely(**WIDE))
    chat.adapters = [calm]
    calmed = joints(chat.likely(**WIDE))  # at the head, what is on counts
    assert calmed != pytest.approx(as_plain)
    styled = chat.ask("second", max_tokens=5)
    as_styled = joints(chat.likely(**WIDE))
    inside = joints(chat.likely(**WIDE, at=styled, token=3))
    chat.adapters = []
    before = state(chat)
    assert joints(chat.likely(**WIDE, at=plain)) == pytest.approx(as_plain)
    found = chat.likely(**WIDE, at=styled, token=3)
    assert joints(found) == pytest.approx(inside, rel=0.01)
    assert state(chat) == before
    entropy = styled.entropy
    made = found.follow(found.branches[0])
    assert made.checkpoint.metadata.adapters == styled.checkpoint.metadata.adapters
    total = sum(made.logprobs[-3:])
    assert total == pytest.approx(np.log(found.branches[0][-1].joint), abs=0.05)
    np.testing.assert_allclose(entropy[:3], made.entropy[:3], atol=0.05)
    chat.checkout(styled)
    assert joints(chat.likely(**WIDE)) == pytest.approx(as_styled)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"depth": 0}, ParameterError),
        ({"min_p": 2}, ParameterError),
        ({"width": 0}, ParameterError),
        ({"token": 99}, ParameterError),
        ({"token": 1.5}, ParameterError),
        ({"at": "nowhere"}, HistoryError),
        ({"at": "ROOT"}, HistoryError),
        ({"depth": 60, "at": "HEAD"}, ContextFullError),
    ],
)
def test_what_cannot_be_is_refused(
    new_chat: ChatMaker, options: dict[str, Any], error: type[Exception]
) -> None:
    chat = new_chat(n_ctx=64)
    chat.ask("a", max_tokens=4)
    before = state(chat)
    with pytest.raises(error):
        chat.likely(**options)
    assert state(chat) == before


def test_nothing_is_likely_in_an_empty_chat(chat: Chat) -> None:
    with pytest.raises(HistoryError, match="ask"):
        chat.likely()


def test_a_message_that_another_holds_can_be_asked_for(loaded: Chat) -> None:
    held = [turn for turn in loaded.turns if turn.index is not None]
    assert held
    before, tokens = loaded.head, loaded.context.tokens
    assert loaded.likely(**WIDE, at=held[0]).roots
    assert loaded.head is before
    assert loaded.context.tokens == tokens


# -- go on --------------------------------------------------------------------------------------


@every
def test_what_is_followed_is_as_if_it_had_been_generated(
    tiny: ModelMaker, architecture: str
) -> None:
    chat, twin = (chat_of(tiny, architecture, temperature=0) for _ in range(2))
    expected = twin.ask("first", max_tokens=8)
    chat.replay([{"role": "user", "content": "first"}])
    likely = chat.likely(3, min_p=0.0, width=2)
    begun = likely.follow(expected.tokens[:3])
    assert (begun.role, begun.finish_reason) == ("assistant", "length")
    assert begun.tokens == expected.tokens[:3]
    assert begun.logprobs == expected.logprobs[:3]
    assert chat.head is begun.checkpoint
    whole = chat.resume(max_tokens=5)
    assert whole.tokens == expected.tokens
    assert whole.text == expected.text
    assert whole.logprobs == expected.logprobs
    np.testing.assert_array_equal(chat.context.capture().data, twin.context.capture().data)
    np.testing.assert_array_equal(chat.context.logits, twin.context.logits)


@one_of_each
def test_one_can_go_on_inside_an_answer(tiny: ModelMaker, architecture: str) -> None:
    chat = chat_of(tiny, architecture)
    answer = chat.ask("first", max_tokens=6)
    n_before = answer.checkpoint.start
    for index in (0, 1, 3, -1):
        likely = chat.likely(**WIDE, at=answer, token=index)
        way = likely.branches[-1]
        made = likely.follow(way[0])
        at = index % 6
        assert made.tokens == (*answer.tokens[:at], way[0].token)
        assert chat.context.tokens[n_before:] == made.tokens
        assert likely.follow(way).tokens == (*answer.tokens[:at], *(each.token for each in way))
        assert chat.resume(max_tokens=2).tokens[:at] == answer.tokens[:at]
    assert chat.checkout(answer) is not None
    assert chat.turns[-1].text == answer.text


@one_of_each
def test_undo_and_redo_know_what_was_followed(tiny: ModelMaker, architecture: str) -> None:
    chat = chat_of(tiny, architecture)
    answer = chat.ask("first", max_tokens=4)
    chat.ask("second", max_tokens=4)
    likely = chat.likely(**WIDE, at=answer)
    made = likely.follow(likely.roots[1])
    said, logits = chat.messages, chat.context.logits
    assert chat.undo() is None
    assert chat.redo() is not None
    assert chat.messages == said
    assert chat.head is made.checkpoint
    np.testing.assert_array_equal(chat.context.logits, logits)
    again = chat.regenerate(max_tokens=3)
    assert again.checkpoint.parent is answer.parts[0].parent


@pytest.mark.slow
@one_of_each
def test_what_was_followed_is_saved_and_recorded(
    tiny: ModelMaker, architecture: str, tmp_path: Path
) -> None:
    chat = chat_of(tiny, architecture)
    answer = chat.ask("first", max_tokens=4)
    likely = chat.likely(**WIDE, at=answer, token=2)
    made = likely.follow(likely.branches[-1])
    chat.resume(max_tokens=3)
    chat.save("a", tmp_path)
    again = Chat.open("a", chat.model, tmp_path)
    assert again.messages == chat.messages
    assert [c.id for c in again.tree] == [c.id for c in chat.tree]
    assert [c.logprobs for c in again.tree] == [c.logprobs for c in chat.tree]
    np.testing.assert_array_equal(again.context.logits, chat.context.logits)
    assert again.tree[made.checkpoint.id].metadata.finish_reason == "length"
    record(chat, tmp_path / "a.mullama.json")
    assert replay(tmp_path / "a.mullama.json", chat.model, "exact").is_identical


@one_of_each
def test_a_token_that_ends_an_answer_completes_it(tiny: ModelMaker, architecture: str) -> None:
    chat = chat_of(tiny, architecture)
    answer = chat.ask("first", max_tokens=4)
    likely = chat.likely(1, min_p=0, width=1000)
    whole = likely.follow(next(root for root in likely.roots if root.is_end))
    assert (whole.tokens, whole.finish_reason) == (answer.tokens, "stop")
    assert whole.text == answer.text
    assert whole.is_complete
    with pytest.raises(HistoryError, match="complete"):
        chat.resume()
    chat.ask("second", max_tokens=2)
    assert [turn.role for turn in chat.turns] == ["user", "assistant"] * 2


def test_thoughts_are_read_as_in_other_answers(tmp_path: Path) -> None:
    text = (TEMPLATES / "qwq_opens_thought.jinja").read_text("utf-8")
    model = Model.load(make_template_model(tmp_path / "m.gguf", text))
    chat = Chat(model, n_ctx=512, n_threads=1)
    chat.replay([{"role": "user", "content": "why?"}])
    close = model.tokenize("</think>", special=True)
    tokens = [*model.tokenize("so"), *close, *model.tokenize("yes")]
    answer = tuple(tokens)
    likely = chat.likely(len(answer), min_p=0, width=1)
    way = made_of(answer)
    found = Likely(chat, likely.checkpoint, None, (way,), 0).follow(answer)
    assert (found.reasoning, found.text) == ("so", "yes")
    assert chat.messages[-1]["reasoning_content"] == "so"


def tide_at(place: str) -> str:
    """Return when high water is."""
    return f"noon at {place}"


def test_calls_are_read_as_in_other_answers(tmp_path: Path) -> None:
    text = (TEMPLATES / "qwen3_thoughts.jinja").read_text("utf-8")
    model = Model.load(make_template_model(tmp_path / "m.gguf", text))
    chat = Chat(model, n_ctx=2048, n_threads=1, tools=[tide_at])
    chat.replay([{"role": "user", "content": "When is high water?"}])
    call = '<tool_call>\n{"name": "tide_at", "arguments": {"place": "Hull"}}\n</tool_call>'
    tokens, end = tuple(model.tokenize(call, special=True)), model.vocabulary.eos
    assert end is not None
    cut = Likely(chat, chat.head, None, (made_of(tokens[:-3]),), 0).follow(tokens[:-3])
    assert cut.finish_reason == "length"
    resumed = chat.resume(max_tokens=1)  # inside the call
    assert resumed.tokens[: len(tokens) - 3] == tokens[:-3]
    question = cut.checkpoint.parent
    assert question is not None
    ended = (*tokens, end)
    whole = Likely(chat, question, None, (made_of(ended, end),), 0).follow(ended)
    assert (whole.finish_reason, whole.tokens) == ("stop", tokens)
    assert [(each.name, dict(each.arguments)) for each in whole.tool_calls] == [
        ("tide_at", {"place": "Hull"})
    ]
    chat.ask({"role": "tool", "content": "noon at Hull"}, max_tokens=2)
    assert [turn.role for turn in chat.turns] == ["user", "assistant", "tool", "assistant"]


def made_of(tokens: tuple[int, ...], end: int | None = None) -> Continuation:
    """A branch with these tokens, which no tiny model finds likely."""
    children: tuple[Continuation, ...] = ()
    for token in tokens[::-1]:
        children = (Continuation(token, "", 0.1, 0.1, children, token == end),)
    return children[0]


def test_only_answers_are_gone_on_with(new_chat: ChatMaker) -> None:
    chat = new_chat("system", n_ctx=64)
    chat.ask("a question", max_tokens=4)
    question, before = chat.turns[1], state(chat)
    for at, token in ((question, 1), (question, 0), (chat.tree.path()[0], None)):
        likely = chat.likely(1, at=at, token=token, min_p=0)
        with pytest.raises(HistoryError):
            likely.follow(likely.roots[0])
        assert state(chat) == before
    long = made_of(tuple([300] * 60))
    with pytest.raises(ContextFullError):
        Likely(chat, chat.head, None, (long,), 0).follow([300] * 60)
    assert state(chat) == before
    gone = chat.likely(1, min_p=0)
    chat.undo()
    chat.tree.prune(question.checkpoint)
    with pytest.raises(HistoryError):
        gone.follow(gone.roots[0])


def test_ways_are_found_and_others_are_not(chat: Chat) -> None:
    chat.ask("first", max_tokens=4)
    likely, other = chat.likely(**WIDE), chat.likely(**WIDE)
    leaf = likely.roots[1].children[0].children[1]
    way = (likely.roots[1], likely.roots[1].children[0], leaf)
    assert likely.way(leaf) == way
    assert likely.way([each.token for each in way]) == way
    assert likely.way(way) == way
    assert likely.text(way) == chat.model.detokenize([each.token for each in way], special=True)
    joints = [branch[-1].joint for branch in likely.branches]
    assert joints == sorted(joints, reverse=True)
    for wrong in (other.roots[0], [], [leaf.token, -1], "text", 5):
        with pytest.raises((ParameterError, TypeError)):
            likely.way(wrong)  # type: ignore[arg-type]
    with pytest.raises(CopyError):
        copy.copy(likely)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, chat: Chat, name: str, n: int) -> None:
    """Interrupt the main thread in the n-th decode of a kind."""
    decoder = chat.context._scheduler.path.memory.decoder
    decode, calls = getattr(decoder, name), []
    main = threading.main_thread().ident
    assert main is not None

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == n:
            signal.pthread_kill(main, signal.SIGINT)
            while not chat.context._scheduler._abort.is_set():
                pass
        return decode(*arguments, **options)

    monkeypatch.setattr(decoder, name, interrupted)


@pytest.mark.parametrize("token", [None, 2])
def test_an_interrupted_look_leaves_no_trace(
    chat: Chat, token: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = chat.ask("first", max_tokens=6)
    chat.ask("second", max_tokens=4)
    before = state(chat)
    interrupt_at(monkeypatch, chat, "decode_rows", 3)
    with pytest.raises(KeyboardInterrupt):
        chat.likely(**WIDE, at=answer, token=token)
    monkeypatch.undo()
    assert state(chat) == before


@pytest.mark.parametrize("n", [1, 2, 3])
def test_an_interrupt_keeps_what_was_followed_by_then(
    chat: Chat, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = chat.ask("first", max_tokens=4)
    likely, before = chat.likely(**WIDE), state(chat)
    way = likely.branches[0]
    interrupt_at(monkeypatch, chat, "decode_rows", n)
    with pytest.raises((KeyboardInterrupt, HistoryError)):
        likely.follow(way)
    monkeypatch.undo()
    said = chat.turns[-1].tokens
    whole = (*answer.tokens, *(each.token for each in way))
    assert said == whole[: len(said)]
    assert chat.context.tokens[-len(said) :] == said
    if said == answer.tokens:
        assert state(chat) == before
    else:
        assert chat.turns[-1].finish_reason in ("stopped", "length")
        chat.resume(max_tokens=1)


# -- shown --------------------------------------------------------------------------------------


def test_it_is_shown_as_text_and_as_a_table(chat: Chat) -> None:
    chat.ask("first", max_tokens=2)
    likely = chat.likely(**WIDE)
    lines = str(likely).splitlines()
    assert len(lines) == 2 + 4 + 8
    assert lines[0].split()[1] == f"{likely.roots[0].probability:.1%}"
    assert [line[:2] for line in lines[1:7]] == ["├ ", "│ ", "│ ", "└ ", "  ", "  "]
    assert repr(likely).startswith("Likely(14 continuations after Checkpoint(")
    assert "at token 1 of" in repr(chat.likely(**WIDE, at=chat.turns[-1], token=1))
    table = likely._repr_html_()
    assert table.count("<tr>") == 15
    hostile = Continuation(1, "<img src=x onerror=alert(1)>\u202e\n", 0.5, 0.5)
    shown = Likely(chat, chat.head, None, (hostile,), 0)
    assert "<img" not in shown._repr_html_()
    assert html.escape("<img") in shown._repr_html_()
    assert len(str(shown).splitlines()) == 1
    assert "\u202e" not in str(shown)
    nothing = chat.likely(min_p=1.0)
    assert (nothing.roots, nothing.branches, str(nothing)) == ((), [], "")
    assert "none" in nothing._repr_html_()
    assert repr(likely.roots[0]).startswith(f"Continuation({likely.roots[0].text!r}, ")


# -- walks --------------------------------------------------------------------------------------


class Looking(Walk):
    """A walk that looks ahead before each step, and goes on with what it saw now and then."""

    def step(self) -> str:
        chat = self.chat
        if chat.context.token_count():
            answers = [turn for turn in chat.turns if turn.tokens]
            at = self.random.choice([None, *answers])
            token = None if at is None else self.random.choice([None, 0, len(at.tokens) - 1])
            if chat.tree.uncommitted:
                chat.tree.commit()
            before = state(chat)
            try:
                likely = chat.likely(2, min_p=0.0, width=2, at=at, token=token)
            except (HistoryError, ParameterError):
                likely = None  # nothing stands before the first token
            after = state(chat)
            assert after[0] is before[0]
            assert after[3:] == before[3:]
            if likely is not None and self.random.random() < 0.3:
                try:
                    likely.follow(self.random.choice(likely.branches))
                except HistoryError:
                    assert state(chat)[3:] == before[3:]
                self.check()
        return super().step()


@pytest.mark.slow
def test_a_random_walk_with_looks_loses_nothing(chat_model: Model) -> None:
    context = Context(chat_model, ContextParams(n_ctx=1024, n_threads=1, n_parallel=3))
    walk = Looking(Chat(context, seed=3, max_bytes=200_000), 3)
    for _ in range(60):
        walk.step()
    walk.check()
