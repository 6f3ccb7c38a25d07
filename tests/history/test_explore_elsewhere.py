"""Answers that other workers decode: the same siblings, to the bit, as if they were made here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY
from template_models import make_template_model
from tiny_adapters import write_lora
from tiny_models import CHATML
from waiting import wait_until

from mullama_nb import Chat, Context, ControlVector, LoRA, Model, Token, Turn
from mullama_nb.engine import params
from mullama_nb.errors import (
    InexactWarning,
    MullamaError,
)
from mullama_nb.history import exploring_elsewhere
from mullama_nb.history.cell_map.live import LiveCells
from mullama_nb.history.events import Committed, Event, TokenAdded
from mullama_nb.state.segment import Segment
from mullama_nb.tasks import exploring, worker
from mullama_nb.tasks.exploring import Explored, Prefix, RowsNeeded
from mullama_nb.testing import record, replay
from mullama_nb.widgets.chat_panel import ChatPanel

from .conftest import ChatMaker
from .executing import Pickling, Refusing
from .same_answers import OPTIONS, QUESTION, assert_equal
from .test_lock import check_every_checkpoint

TEMPLATES = Path(__file__).parents[1] / "templates"


def make_chat(model: Model, **options: Any) -> Chat:
    return Chat(model, **({"n_ctx": 1024, "n_threads": 1, "n_parallel": 3} | options))


def rows_in_front(answer: Turn) -> list[Segment]:
    """What a context has to hold before an answer, as the tree keeps it."""
    tree, before = answer.chat.tree, answer.checkpoint.parent
    assert before is not None
    segments = [tree.segment(node) for node in tree.path(before)]
    if answer.chat.context.memory_kind.can_cut:
        return [segment for segment in segments if segment is not None]
    whole = segments[-1]
    assert whole is not None
    return [replace(whole, start=0, tokens=tree.tokens(before))]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY)
def test_batches_are_those_of_so_many_calls_here(
    tiny: ModelMaker, pool: Pickling, architecture: str
) -> None:
    model = tiny(architecture, chat_template=CHATML)
    here, there = make_chat(model), make_chat(model)
    local = [*here.explore(QUESTION, 3, **OPTIONS), *here.explore(n=3, **OPTIONS)]
    local += here.explore(n=1, **OPTIONS)
    answers = there.explore(QUESTION, 7, executor=pool, **OPTIONS)
    assert there.head.id == here.head.id
    assert_equal(answers, local)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY)
def test_exact_answers_are_what_asking_would_say(
    tiny: ModelMaker, pool: Pickling, architecture: str
) -> None:
    model = tiny(architecture, chat_template=CHATML)
    here, there = make_chat(model), make_chat(model)
    local = [here.ask(QUESTION, **OPTIONS)] + [here.regenerate(**OPTIONS) for _ in range(2)]
    answers = there.explore(QUESTION, 3, exact=True, executor=pool, **OPTIONS)
    assert_equal(answers, local)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"kv_cache_type": "q8_0"},
        {"kv_cache_type": ("q4_0", "f16")},
        {"flash_attention": False},
        {"n_batch": 64, "n_ubatch": 32},
        {"rope_freq_base": 5000.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("ships", [True, False])
def test_rows_of_other_types_and_settings_are_the_same(
    tiny: ModelMaker,
    pool: Pickling,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    ships: bool,
) -> None:
    monkeypatch.setattr(exploring_elsewhere, "ships_rows", lambda *_: ships)
    model = tiny("llama", head_dim=32, chat_template=CHATML)
    here, there = make_chat(model, **options), make_chat(model, **options)
    local = [*here.explore(QUESTION, 3, **OPTIONS), *here.explore(n=2, **OPTIONS)]
    assert_equal(there.explore(QUESTION, 5, executor=pool, **OPTIONS), local)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba", "lfm2"])
def test_a_prefix_that_is_evaluated_again_is_the_same(
    tiny: ModelMaker,
    pool: Pickling,
    outcomes: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
) -> None:
    monkeypatch.setattr(exploring_elsewhere, "ships_rows", lambda *_: False)
    model = tiny(architecture, chat_template=CHATML)
    here, there = make_chat(model), make_chat(model)
    for chat in (here, there):
        chat.ask("a word to begin with?", max_tokens=9)
    local = [*here.explore(QUESTION, 3, **OPTIONS), *here.explore(n=3, **OPTIONS)]
    assert_equal(there.explore(QUESTION, 6, executor=pool, **OPTIONS), local)
    assert {each.bytes_taken for each in outcomes} == {0}
    assert {each.n_evaluated for each in outcomes} <= {0, local[0].checkpoint.start}


def test_rows_are_read_once_by_each_worker(
    new_chat: ChatMaker, pool: Pickling, outcomes: list[Any]
) -> None:
    chat = new_chat(n_ctx=1024, n_parallel=2)
    chat.explore(QUESTION, 12, executor=pool, **OPTIONS)
    chat.explore(n=12, executor=pool, **OPTIONS)
    taken = [each.bytes_taken for each in outcomes if each.bytes_taken]
    rows = chat.context.capture().n_bytes
    assert len(outcomes) == 12
    assert 1 <= len(taken) <= 2
    assert set(taken) == {rows}
    assert pool.n_bytes < rows  # what is sent has none


def test_workers_that_see_other_files_get_the_bytes(
    new_chat: ChatMaker, outcomes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring_elsewhere._Folder, "file", lambda *_: "/nowhere/rows.segment")
    here, there = (new_chat(n_ctx=1024, n_parallel=2) for _ in range(2))
    local = [a for n in range(4) for a in here.explore(None if n else QUESTION, 2, **OPTIONS)]
    with Pickling(1) as pool:
        answers = there.explore(QUESTION, 8, executor=pool, **OPTIONS)
    assert_equal(answers, local)
    assert [type(each) for each in outcomes] == [RowsNeeded] * 4 + [Explored] * 4
    taken = [each.bytes_taken for each in outcomes[4:]]
    assert [n > 0 for n in taken] == [True, False, False, False]
    assert pool.n_bytes < 2 * taken[0]  # they were sent once
    check_every_checkpoint(there)


# -- another environment ---------------------------------------------------------------------


@pytest.fixture
def other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers have three threads each, and chats that say nothing of it one."""
    monkeypatch.setattr(worker, "n_threads", lambda _: 3)
    monkeypatch.setattr(params, "_usable_threads", lambda: 1)


@pytest.mark.slow
@pytest.mark.usefixtures("other_threads")
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba", "lfm2"])
def test_what_others_decoded_is_sealed_again_here(
    tiny: ModelMaker, pool: Pickling, outcomes: list[Any], architecture: str
) -> None:
    model = tiny(architecture, chat_template=CHATML)
    chat = make_chat(model, n_threads=None)
    answers = chat.explore(QUESTION, 4, executor=pool, **OPTIONS)
    assert {answer.rows for each in outcomes for answer in each.answers} == {None}  # not sent
    for answer in answers:
        noted = answer.checkpoint.metadata.decoded_elsewhere
        assert noted["differs"] == ["the number of threads: 3 there, 1 here"]
        assert noted["worker"].startswith("process ")
        assert answer.checkpoint.place == "lost"
        assert chat.tree.segment(answer.checkpoint) is None
    assert repr(answers[0]) == "Turn(assistant, 12 tokens, length, decoded elsewhere)"
    assert str(chat.tree).count("(decoded elsewhere)") == 4
    assert "(lost)" not in str(chat.tree)
    panel = ChatPanel(chat)
    for answer in answers:
        address = answer.checkpoint.address
        with catch_warnings(record=True) as warnings:
            simplefilter("always")
            answer.keep()
        is_same = answer.checkpoint.address == address  # the bits are those that were there
        assert answer.checkpoint.is_exact == is_same
        assert [w.category for w in warnings] == [] if is_same else [InexactWarning]
        if not is_same:
            assert "decoded elsewhere (the number of threads: 3 there" in str(warnings[0].message)
        assert panel.take_snapshot()["messages"][-1]["notes"] == [
            "decoded elsewhere: the number of threads: 3 there, 1 here"
        ]
        # From now on it is what its tokens, given here, would be.
        twin = make_chat(model, n_threads=None)
        twin.context.restore(rows_in_front(answer))
        for token in answer.tokens:
            twin.context.evaluate([token])
        np.testing.assert_array_equal(twin.context.logits, chat.context.logits)
        assert twin.context.capture().address == chat.context.capture().address
    check_every_checkpoint(chat)


@pytest.mark.usefixtures("other_threads")
def test_what_others_decoded_can_be_cut_and_removed(tiny: ModelMaker, pool: Pickling) -> None:
    chat = make_chat(tiny("llama", chat_template=CHATML), n_threads=None)
    answers = chat.explore(QUESTION, 4, executor=pool, **OPTIONS)
    chat.tree.spill(answers[1].checkpoint)
    with catch_warnings():
        simplefilter("ignore", InexactWarning)
        forked = chat.fork(answers[2], token=3, max_tokens=2)
        assert forked.tokens[:3] == answers[2].tokens[:3]
        chat.checkout(answers[3])
        assert chat.resume(max_tokens=2).parts[0] is answers[3].checkpoint
        check_every_checkpoint(chat)
        answers.drop_others(1)
    assert [answer.id for answer in answers if answer.checkpoint in chat.tree] == [answers[1].id]
    check_every_checkpoint(chat)


@pytest.mark.usefixtures("other_threads")
def test_equal_bits_need_no_warning(new_chat: ChatMaker, pool: Pickling) -> None:
    chat = new_chat(n_threads=None, n_threads_batch=None, n_parallel=1)  # within 256 cells
    answers = chat.explore("why?", 3, executor=pool, **OPTIONS)
    for answer in answers:
        answer.keep()  # warnings are errors
        assert answer.checkpoint.is_exact
    local = new_chat(n_threads=None, n_threads_batch=None, n_parallel=1).explore(
        "why?", 3, **OPTIONS
    )
    for mine, theirs in zip(answers, local, strict=True):
        assert mine.checkpoint.address == theirs.checkpoint.address


@pytest.mark.usefixtures("other_threads")
def test_where_it_was_decoded_is_saved(
    chat_model: Model, new_chat: ChatMaker, pool: Pickling, tmp_path: Path
) -> None:
    chat = new_chat(n_threads=None, n_threads_batch=None)
    answers = chat.explore("why?", 2, executor=pool, **OPTIONS)
    noted = [answer.checkpoint.metadata for answer in answers]
    chat.save("far", tmp_path)
    again = Chat.open("far", chat_model, tmp_path)
    assert [child.metadata for child in again.head.children] == noted
    with pytest.warns(InexactWarning, match="evaluated again"):
        again.checkout(again.head.children[1])
    assert again.context.tokens[-len(answers[1].tokens) :] == answers[1].tokens


@pytest.mark.usefixtures("other_threads")
def test_a_recording_of_what_others_decoded_holds_here(
    tiny: ModelMaker, pool: Pickling, tmp_path: Path
) -> None:
    model = tiny("llama", chat_template=CHATML)
    chat = make_chat(model, n_threads=None)
    chat.explore(QUESTION, 4, executor=pool, **OPTIONS)
    path = tmp_path / "one.mullama.json"
    with catch_warnings():
        simplefilter("ignore", InexactWarning)
        record(chat, path)
    report = replay(path, model)
    assert report.passed, str(report)


# -- what else it takes ----------------------------------------------------------------------


def test_other_settings_and_other_questions_are_as_here(tiny: ModelMaker, pool: Pickling) -> None:
    mood = CHATML + "{% if add_generation_prompt and mood %}{{ mood }}{% endif %}"
    model = tiny("llama", chat_template=mood)
    vary = {
        "temperature": [0.0, 1.5],
        "chat_template_kwargs": [None, {"mood": "glad"}, {"mood": "sad "}],
    }
    options = {"max_tokens": 5, "seed": None, "mirostat": 0, "vary": vary, "stop": "qu"}
    here, there = make_chat(model, seed=3), make_chat(model, seed=3)
    local = here.explore("Why?", **(options | {"seed": 5}))
    answers = there.explore("Why?", executor=pool, **(options | {"seed": 5}))
    assert answers.varied == local.varied
    assert repr(answers) == repr(local)
    assert_equal(answers, local)
    assert there.head.id == here.head.id


def test_a_sampler_that_carries_a_state_goes_on_with_it(
    new_chat: ChatMaker, pool: Pickling
) -> None:
    here, there = new_chat(n_parallel=2), new_chat(n_parallel=2)
    options = {"max_tokens": 4, "mirostat": 2, "temperature": 1.0}
    local = here.explore("Why?", 2, **options)
    answers = there.explore("Why?", 2, executor=pool, **options)
    assert_equal(answers, local)
    for chat, turn in ((here, local[1]), (there, answers[1])):
        chat.checkout(turn)
    assert there.resume(max_tokens=4).tokens == here.resume(max_tokens=4).tokens


def test_adapters_go_along(tiny: ModelMaker, pool: Pickling, tmp_path: Path) -> None:
    model = tiny("llama", chat_template=CHATML)
    rows = np.random.default_rng(0).normal(0, 1, (model.n_layers, model.n_embd))
    rows[0] = 0
    calm = ControlVector.from_array(rows, name="calm")
    style = LoRA(write_lora(tmp_path / "style.gguf", model), scale=0.5)
    chats = [make_chat(model, adapters=[style]) for _ in range(2)]
    for chat in chats:
        chat.ask("a first question?", max_tokens=4)
        chat.adapters = [style.with_scale(0.25), calm]
    here, there = chats
    local, answers = (
        chat.explore("Why?", 3, executor=executor, **OPTIONS)
        for chat, executor in ((here, None), (there, pool))
    )
    assert [len(a.checkpoint.metadata.adapters) for a in answers] == [2] * 3
    assert_equal(answers, local)
    for chat in chats:  # on the same rows, with others on
        chat.checkout(answers[0].checkpoint.parent.id)  # type: ignore[union-attr]
        chat.adapters = [style]
    local = here.explore(n=3, **OPTIONS)
    assert_equal(there.explore(n=3, executor=pool, **OPTIONS), local)
    assert [len(a.checkpoint.metadata.adapters) for a in local] == [1] * 3


def test_what_is_warned_of_is_warned_of_once(new_chat: ChatMaker, pool: Pickling) -> None:
    here, there = new_chat(n_parallel=2), new_chat(n_parallel=2)
    warned = []
    for chat, executor in ((here, None), (there, pool)):
        with catch_warnings(record=True) as warnings:
            simplefilter("always")
            answers = chat.explore("Why?", 2, executor=executor, reasoning_budget=3, **OPTIONS)
        warned.append([str(warning.message) for warning in warnings])
        assert warnings[0].filename == __file__
    assert warned[0] == warned[1]
    assert len(warned[0]) == 1
    assert_equal(answers, [Turn(here, node) for node in here.head.children])


def test_tokens_that_were_evaluated_directly_are_part_of_the_prefix(
    new_chat: ChatMaker, pool: Pickling
) -> None:
    here, there = new_chat(n_parallel=2), new_chat(n_parallel=2)
    for chat in (here, there):
        chat.ask("Why?", max_tokens=3)
        chat.context.evaluate("and then it said:")
    local = here.explore(n=2, **OPTIONS)
    assert_equal(there.explore(n=2, executor=pool, **OPTIONS), local)


def test_an_empty_chat_has_nothing_to_answer(new_chat: ChatMaker) -> None:
    said = []
    for executor in (None, Refusing()):
        chat = new_chat()
        with pytest.raises(MullamaError) as caught:
            chat.explore(n=2, executor=executor)
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "lfm2"])
def test_answers_that_fill_the_context_take_turns_as_here(
    tiny: ModelMaker, pool: Pickling, architecture: str
) -> None:
    model = tiny(architecture, chat_template=CHATML)
    here, there = make_chat(model, n_ctx=128), make_chat(model, n_ctx=128)
    options = {"temperature": 1.5, "seed": 4}
    question = "word " * 30
    local = [*here.explore(question, 3, **options), *here.explore(n=3, **options)]
    assert "context_full" in {answer.finish_reason for answer in local}
    assert_equal(there.explore(question, 6, executor=pool, **options), local)


def test_a_beginning_of_the_answer_that_was_given_is_gone_on_with(
    new_chat: ChatMaker, pool: Pickling
) -> None:
    said = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because of"}]
    here, there = new_chat(n_parallel=2), new_chat(n_parallel=2)
    local = here.explore(said, 2, **OPTIONS)
    assert_equal(there.explore(said, 2, executor=pool, **OPTIONS), local)


WEATHER = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}},
}


@pytest.mark.slow
@pytest.mark.parametrize("tools", [None, [{"type": "function", "function": WEATHER}]])
def test_thoughts_and_calls_are_made_as_here(
    pool: Pickling, tmp_path: Path, tools: list[Any] | None
) -> None:
    source = (TEMPLATES / "qwen3_thoughts.jinja").read_text("utf-8")
    model = Model.load(make_template_model(tmp_path / "m.gguf", source))
    said = [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "<think>Well"},
    ]
    grammar = None if tools else 'root ::= "yes" | "no"'
    options: dict[str, Any] = {"max_tokens": 30, "reasoning_budget": 4, "grammar": grammar}
    if tools:
        opens = model.tokenize("<tool_call>", special=True)
        options["logit_bias"] = {opens[0]: 100.0} if len(opens) == 1 else {}
    parts: list[list[tuple[Any, ...]]] = []
    made = []
    for executor in (None, pool):
        chat = make_chat(model, n_parallel=2, tools=tools)
        heard: list[tuple[Any, ...]] = []
        made.append(
            chat.explore(
                *(said, 2),
                executor=executor,
                on_token=lambda n, token, heard=heard: heard.append((n, token.id, token.part)),
                **OPTIONS | options,
            )
        )
        parts.append(sorted(heard, key=lambda told: told[0]))
    assert parts[0] == parts[1]
    assert {part for *_, part in parts[0]} >= {"reasoning", "tool_call" if tools else "text"}
    assert_equal(made[1], made[0])


def test_rows_that_came_about_in_another_way_are_asked_for(
    new_chat: ChatMaker,
    pool: Pickling,
    outcomes: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(exploring_elsewhere, "ships_rows", lambda *_: False)
    # Other sizes of batches have other last bits, and a session does not say which they were.
    first = new_chat(n_ctx=1024, n_batch=16, n_ubatch=16)
    here, there = (new_chat(n_ctx=1024, n_parallel=2) for _ in range(2))
    first.ask(QUESTION, max_tokens=9)
    first.context.save_session(tmp_path / "one.session")
    for chat in (here, there):
        chat.load_session(tmp_path / "one.session")
    evaluated: list[Prefix] = []
    evaluate = exploring._evaluate

    def count(context: Context, prefix: Prefix) -> None:
        evaluated.append(prefix)
        evaluate(context, prefix)

    monkeypatch.setattr(exploring, "_evaluate", count)
    local = [a for n in range(4) for a in here.explore(None if n else "Why?", 2, **OPTIONS)]
    assert_equal(there.explore("Why?", 8, executor=pool, **OPTIONS), local)
    assert [type(each) for each in outcomes] == [RowsNeeded] * 4 + [Explored] * 4
    assert 1 <= len(evaluated) <= 2  # once in each worker


def test_what_is_decoded_elsewhere_takes_no_cells(new_chat: ChatMaker, pool: Pickling) -> None:
    chat = new_chat(n_ctx=256, n_parallel=8)
    told, used = list[Event](), list[int]()
    live = LiveCells(chat)

    def look(event: Event) -> None:
        told.append(event)
        live.update([event])
        used.append(live.map().n_used)

    chat.tree.on_change(look)
    chat.explore("Why?", 32, executor=pool, **OPTIONS)  # more tokens than there are cells
    assert chat.tree.flush()
    assert sum(isinstance(event, TokenAdded) for event in told) == 32 * 12
    assert max(used) == chat.context.token_count()


def test_tokens_are_told_when_an_answer_comes(new_chat: ChatMaker, pool: Pickling) -> None:
    chat = new_chat(n_parallel=2)
    told: list[Event] = []
    heard: list[tuple[int, Token]] = []
    subscription = chat.tree.on_change(told.append)
    answers = chat.explore(
        "Why?", 5, executor=pool, on_token=lambda *each: heard.append(each), **OPTIONS
    )
    wait_until(lambda: sum(isinstance(e, Committed) for e in told) == 6)
    subscription.cancel()
    tokens = [e for e in told if isinstance(e, TokenAdded)]
    assert all(e.is_elsewhere for e in tokens)
    come = [tuple(e.token for e in tokens if e.branch == n) for n in range(5)]
    assert sorted(come) == sorted(answer.tokens for answer in answers)
    for index, answer in enumerate(answers):
        assert tuple(token.id for i, token in heard if i == index) == answer.tokens
    commits = [e.checkpoint for e in told if isinstance(e, Committed) and not e.is_head]
    assert commits == [answer.id for answer in answers]
