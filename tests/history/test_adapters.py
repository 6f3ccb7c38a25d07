"""Adapters in a chat: every checkpoint goes on with what it was made with, here and when opened."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tiny_adapters import write_lora
from tiny_models import CHATML, make_model
from tree_walk import STEPS, Walk

from mullama_nb import Chat, CheckpointTree, Context, ContextParams, ControlVector, LoRA, Model
from mullama_nb.engine.adapters.values import Adapter
from mullama_nb.errors import (
    AdapterError,
    InexactWarning,
    ParameterWarning,
    SessionMismatchError,
)
from mullama_nb.history.events import AdaptersChanged, Event
from mullama_nb.history.tree import Checkpoint
from mullama_nb.sessions.store import SessionStore

OPTIONS: dict[str, Any] = {"n_ctx": 1024, "n_threads": 1, "seed": 1, "max_tokens": 4}
SAY = {"max_tokens": 4}
MakeChat = Callable[..., Chat]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    return Model.load(make_model(folder / "m.gguf", "llama", chat_template=CHATML))


@pytest.fixture
def style(model: Model, tmp_path: Path) -> LoRA:
    return LoRA(write_lora(tmp_path / "style.gguf", model), scale=0.5)


@pytest.fixture(scope="module")
def calm(model: Model) -> ControlVector:
    return vector(model)


def vector(model: Model, seed: int = 0) -> ControlVector:
    rows = np.random.default_rng(seed).normal(0, 1, (model.n_layers, model.n_embd))
    rows[0] = 0
    return ControlVector.from_array(rows, name="calm")


def new_chat(model: Model, **options: Any) -> Chat:
    return Chat(model, n_ctx=1024, n_threads=1, seed=1, **options)


def names(chat: Chat) -> list[list[str]]:
    """What each checkpoint of the path was made with."""
    return [[note["name"] for note in c.metadata.adapters] for c in chat.tree.path()]


def worked_out(chat: Chat, target: Checkpoint) -> npt.NDArray[np.float32]:
    """The logits at a checkpoint, evaluated anew in another context step by step."""
    with Context(chat.model, chat.context.params) as context:
        context.known_adapters.offer(chat.context.known_adapters.at_hand)
        for checkpoint in chat.tree.path(target):
            context.adapters = context.known_adapters.of(checkpoint.metadata.adapters)
            for tokens in (
                [[t] for t in checkpoint.tokens] if checkpoint.logprobs else [checkpoint.tokens]
            ):
                context.evaluate(tokens)
        return context.logits


# -- moves ---------------------------------------------------------------------------------------


def test_a_checkout_switches_to_what_the_checkpoint_was_made_with(
    model: Model, style: LoRA, calm: ControlVector
) -> None:
    chat = new_chat(model, system="Be brief.")
    plain = chat.ask("why?", **SAY)
    chat.adapters = [style]
    styled = chat.ask("how?", **SAY)
    chat.adapters = [style.with_scale(2), calm]
    both = chat.ask("when?", **SAY)
    assert names(chat) == [[], [], [], ["style"], ["style"], ["style", "calm"], ["style", "calm"]]
    for turn, on in ((plain, ()), (both, (style.with_scale(2), calm)), (styled, (style,))):
        chat.checkout(turn)
        assert chat.adapters == on
        expected = worked_out(chat, turn.checkpoint)
        np.testing.assert_array_equal(chat.context.logits, expected)
    notes = [str(checkpoint.metadata) for checkpoint in chat.tree]
    assert not any(str(Path(style.path).parent) in text for text in notes)


def test_undo_and_redo_bring_back_what_was_on(model: Model, style: LoRA) -> None:
    chat = new_chat(model, system="Be brief.")
    chat.ask("why?", **SAY)
    chat.adapters = [style]
    first = chat.ask("how?", **SAY)
    chat.adapters = []
    chat.ask("when?", **SAY)
    chat.undo()
    assert chat.adapters == ()
    chat.undo()
    assert chat.adapters == (style,)  # as it was when "how?" was asked
    again = chat.ask("how?", **SAY)
    assert again.tokens == first.tokens
    chat.undo(2)
    assert chat.adapters == ()
    chat.redo()
    assert chat.adapters == ()
    chat.redo()
    assert chat.adapters == (style,)


def test_what_is_regenerated_or_edited_goes_on_with_the_same(
    model: Model, style: LoRA, calm: ControlVector
) -> None:
    chat = new_chat(model)
    chat.adapters = [style]
    first = chat.ask("why?", temperature=1.0, **SAY)
    chat.adapters = [calm]
    chat.ask("how?", **SAY)
    chat.edit("when?", **SAY)
    assert names(chat)[-2:] == [["calm"], ["calm"]]
    chat.regenerate(first, temperature=1.0, **SAY)
    assert chat.adapters == (style,)
    assert names(chat) == [["style"], ["style"]]
    chat.edit("who?", chat.turns[0], **SAY)
    assert names(chat) == [["style"], ["style"]]
    chat.fork(first, token=2, **SAY)
    assert {*map(tuple, names(chat))} == {("style",)}
    chat.checkout("ROOT")
    assert chat.adapters == (style,)  # what was on when nothing was said


def test_what_was_set_since_the_last_message_stays_on(
    model: Model, style: LoRA, calm: ControlVector
) -> None:
    chat = new_chat(model, system="Be brief.")
    chat.ask("why?", **SAY)
    plain = chat.ask("how?", temperature=0.0, **SAY)
    chat.adapters = [style]
    styled = chat.regenerate(temperature=0.0, **SAY)
    assert names(chat)[-2:] == [[], ["style"]]  # the question stays as it was evaluated
    assert styled.checkpoint.siblings == (plain.checkpoint, styled.checkpoint)
    np.testing.assert_array_equal(chat.context.logits, worked_out(chat, styled.checkpoint))
    chat.adapters = [calm]
    chat.edit("when?", **SAY)
    assert names(chat)[-2:] == [["calm"], ["calm"]]
    chat.regenerate(styled, **SAY)
    assert chat.adapters == (style,)
    chat.adapters = [calm]
    chat.undo(2)
    assert chat.adapters == (calm,)
    chat.redo()
    assert chat.adapters == ()
    chat.adapters = [calm]
    chat.checkout(plain)
    assert chat.adapters == ()


def test_a_question_asked_with_and_without_is_two_branches(model: Model, style: LoRA) -> None:
    chat = new_chat(model, system="Be brief.")
    plain = chat.ask("why?", temperature=0.0, **SAY)
    chat.undo()
    chat.adapters = [style]
    styled = chat.ask("why?", temperature=0.0, **SAY)
    question = styled.checkpoint.parent
    assert question is not None
    assert question is not plain.checkpoint.parent
    # The system message was evaluated without, and stays so.
    assert names(chat) == [[], ["style"], ["style"]]
    chat.tree.checkout("ROOT")
    chat.adapters = [style]
    chat.ask("why?", **SAY)
    assert names(chat) == [["style"]] * 3
    chat.tree.checkout("ROOT")
    chat.adapters = []
    chat.ask("how?", **SAY)
    assert names(chat) == [[]] * 3
    systems = [c for c in chat.tree.root.children if c.metadata.is_system]
    assert len(systems) == 2  # one with and one without, each taken again


def test_explored_answers_and_visits_leave_on_what_is_on(
    model: Model, style: LoRA, calm: ControlVector
) -> None:
    chat = new_chat(model)
    plain = chat.ask("why?", **SAY)
    chat.adapters = [style]
    answers = chat.explore("how?", n=2, max_tokens=3)
    assert [note["name"] for a in answers for note in a.checkpoint.metadata.adapters] == [
        "style",
        "style",
    ]
    chat.adapters = [calm]
    with chat.at(plain):
        assert chat.adapters == ()
    assert chat.adapters == (calm,)
    chat.alternatives(answers[0], 1)
    assert chat.adapters == (calm,)
    answers[1].keep()
    assert chat.adapters == (style,)
    np.testing.assert_allclose(
        chat.context.logits, worked_out(chat, answers[1].checkpoint), atol=0.05
    )


def test_what_is_dropped_is_evaluated_again_as_it_was(tmp_path: Path) -> None:
    """Memory that cannot be cut keeps one state for each checkpoint, and works the rest out."""
    model = Model.load(make_model(tmp_path / "l.gguf", "lfm2", chat_template=CHATML))
    lora = LoRA(write_lora(tmp_path / "hybrid.gguf", model))
    chat = new_chat(model)
    chat.adapters = [lora]
    first = chat.ask("why?", max_tokens=6)
    chat.adapters = [vector(model)]
    chat.ask("how?", max_tokens=6)
    inside = chat.tree.fork(first.checkpoint, token=3)
    assert inside.address is not None
    assert chat.adapters == (lora,)
    np.testing.assert_array_equal(chat.context.logits, worked_out(chat, inside))


def test_an_adapter_that_does_not_fit_changes_nothing(
    model: Model, style: LoRA, tmp_path: Path
) -> None:
    wide = Model.load(make_model(tmp_path / "w.gguf", "llama", head_dim=32))
    chat = new_chat(model, adapters=[style])
    with pytest.raises(AdapterError, match="does not fit"):
        chat.adapters = [vector(wide)]
    assert chat.adapters == (style,)
    assert repr(chat) == "Chat('m', 0 messages, LoRA('style', scale=0.5))"


def test_observers_hear_of_a_switch_when_it_is_done(model: Model, style: LoRA) -> None:
    chat, heard = new_chat(model), list[tuple[Event, tuple[Adapter, ...]]]()
    chat.ask("why?", **SAY)
    chat.tree.on_change(lambda event: heard.append((event, chat.adapters)))
    chat.adapters = [style]
    chat.adapters = [style]
    assert chat.tree.flush()
    assert heard == [(AdaptersChanged(chat.head.id), (style,))]
    chat.ask("how?", **SAY)
    chat.undo()
    chat.checkout("HEAD")
    assert chat.tree.flush()
    events = [event for event, _ in heard]
    assert events.count(AdaptersChanged(chat.head.id)) == 2
    assert heard[-1] == (AdaptersChanged(chat.head.id), ())


# -- kept ----------------------------------------------------------------------------------------


def said(model: Model, style: LoRA, calm: ControlVector) -> Chat:
    chat = new_chat(model, system="Be brief.")
    chat.ask("why?", **SAY)
    chat.tag("plain")
    chat.adapters = [style]
    chat.ask("how?", **SAY)
    chat.tag("styled")
    chat.adapters = [style.with_scale(-1), calm]
    chat.ask("when?", **SAY)
    chat.adapters = [calm]
    return chat


def test_a_saved_chat_is_opened_with_its_adapters(
    model: Model, style: LoRA, calm: ControlVector, tmp_path: Path
) -> None:
    chat = said(model, style, calm)
    chat.save("a", tmp_path)
    with pytest.raises(SessionMismatchError, match=r"the control vector 'calm' .*not at hand"):
        Chat.open("a", model, tmp_path)
    again = Chat.open("a", model, tmp_path, adapters=[calm.with_scale(3)])  # style is found
    assert again.adapters == (calm,)
    for tag in ("plain", "styled"):
        again.checkout(tag)
        chat.checkout(tag)
        assert again.adapters == chat.adapters
        np.testing.assert_array_equal(again.context.logits, chat.context.logits)
    assert again.ask("who?", **SAY).tokens == chat.ask("who?", **SAY).tokens


def test_a_file_that_moved_is_found_by_its_contents(
    model: Model, style: LoRA, calm: ControlVector, tmp_path: Path
) -> None:
    chat = said(model, style, calm)
    chat.save("a", tmp_path)
    moved = Path(style.path).rename(tmp_path / "moved.gguf")
    write_lora(Path(style.path), model, seed=5)  # another one in its place
    with pytest.raises(SessionMismatchError, match=r"the LoRA 'style' .*not at hand"):
        Chat.open("a", model, tmp_path, adapters=[calm])
    again = Chat.open("a", model, tmp_path, adapters=[calm, LoRA(moved)])
    again.checkout("styled")
    chat.checkout("styled")
    np.testing.assert_array_equal(again.context.logits, chat.context.logits)
    with pytest.warns(InexactWarning, match="evaluated again"):
        replayed = Chat.open("a", model, tmp_path, on_mismatch="replay")
    assert (
        replayed.messages == Chat.open("a", model, tmp_path, adapters=[calm, LoRA(moved)]).messages
    )
    assert {*map(tuple, names(replayed))} == {()}
    assert replayed.adapters == ()


def test_a_chat_without_adapters_is_saved_as_it_always_was(model: Model, tmp_path: Path) -> None:
    chat = new_chat(model)
    chat.ask("why?", **SAY)
    chat.save("a", tmp_path)
    _, record, body, saved = SessionStore(tmp_path).open_chat("a")
    assert "adapters" not in record.metadata["settings"]
    assert "adapters" not in body
    assert not any("adapters" in entry.metadata for entry in saved.entries)


def test_open_or_create_begins_with_adapters_and_finds_them_again(
    model: Model, style: LoRA, tmp_path: Path
) -> None:
    chat = Chat.open_or_create("a", model, tmp_path, adapters=[style], n_threads=1)
    first = chat.ask("why?", **SAY)
    again = Chat.open_or_create("a", model, tmp_path, adapters=[style])
    assert again.adapters == (style,)
    assert again.turns[-1].tokens == first.tokens
    again.ask("how?", **SAY)
    assert {*map(tuple, names(again))} == {("style",)}
    with pytest.warns(ParameterWarning, match=r"adapters=\[LoRA\('style', .*\], now \[\]"):
        other = Chat.open_or_create("a", model, tmp_path, adapters=[])
    assert other.adapters == ()
    other.regenerate(**SAY)
    assert names(other)[-1] == []


def test_a_session_file_becomes_a_checkpoint_for_each_of_the_adapters(
    model: Model, style: LoRA, calm: ControlVector, tmp_path: Path
) -> None:
    chat = said(model, style, calm)
    chat.save_session(tmp_path / "s")
    other = new_chat(model)
    with pytest.raises(SessionMismatchError, match="not at hand"):
        other.load_session(tmp_path / "s")
    assert len(other.tree) == 0
    other.load_session(tmp_path / "s", adapters=[calm, style])
    assert other.messages == chat.messages
    assert other.adapters == (calm,)
    assert names(other) == [[], ["style"], ["style", "calm"]]
    np.testing.assert_array_equal(other.context.logits, chat.context.logits)
    middle = other.tree.path()[1]
    expected = chat.context.logits_at(middle.stop)
    with other.tree.visit(middle):
        assert other.adapters == (style,)
        np.testing.assert_array_equal(other.context.logits, expected)
    assert other.ask("who?", **SAY).tokens == chat.ask("who?", **SAY).tokens


def test_a_tree_on_a_context_that_had_several_notes_them(model: Model, style: LoRA) -> None:
    context = Context(model, ContextParams(n_ctx=256, n_threads=1))
    context.evaluate([20, 21, 22])
    context.adapters = [style]
    context.evaluate([23, 24])
    tree = CheckpointTree(context)
    assert [(len(c.tokens), len(c.metadata.adapters)) for c in tree.path()] == [(3, 0), (2, 1)]
    tree.undo()
    assert tree.adapters == (style,)
    tree.checkout("HEAD")
    assert tree.adapters == ()


# -- at random -----------------------------------------------------------------------------------


class AdapterWalk(Walk):
    """A walk on which adapters change, and a chat is saved and opened."""

    def __init__(self, chat: Chat, seed: int, some: list[Adapter], folder: Path) -> None:
        self.some, self.folder = some, folder
        self.made: dict[str, Any] = {}
        chat.context.known_adapters.offer(some)
        super().__init__(chat, seed)
        self.twin.known_adapters.offer(some)

    def _switch(self) -> bool:
        n = self.random.randint(0, 2)
        scale = self.random.choice([0.5, 1.0])
        self.chat.adapters = [a.with_scale(scale) for a in self.random.sample(self.some, n)]
        return True

    def _reopen(self) -> bool:
        before = self.chat
        before.tree.commit()
        before.save("walk", self.folder, replace=True)
        self.chat = Chat.open(
            *("walk", before.model, self.folder), adapters=self.some, max_bytes=200_000
        )
        assert self.chat.adapters == before.adapters
        assert self.chat.head.id == before.head.id
        assert np.array_equal(self.chat.context.logits, before.context.logits)
        before.context.close()
        return True

    def _checkout(self) -> bool:
        super()._checkout()
        head = self.chat.head
        if head.tokens:
            on = [adapter.note() for adapter in self.chat.adapters]
            assert on == [*head.metadata.adapters]
        return True

    def check(self, *, all_rows: bool = True) -> None:
        super().check(all_rows=all_rows)
        for checkpoint in self.chat.tree:
            notes = [*checkpoint.metadata.adapters]
            assert self.made.setdefault(checkpoint.id, notes) == notes
            segment = self.chat.tree.segment(checkpoint)
            assert segment is None or bool(segment.adapters) == bool(notes)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_random_walk_with_adapters_loses_nothing(
    model: Model, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tree_walk.STEPS", {**STEPS, "switch": 6, "reopen": 1, "rewind_directly": 1}
    )
    some: list[Adapter] = [
        LoRA(write_lora(tmp_path / "a.gguf", model, seed=1)),
        LoRA(write_lora(tmp_path / "b.gguf", model, seed=2, alpha=4.0)),
        vector(model),
    ]
    chat = new_chat(model, n_parallel=4, max_bytes=200_000)
    walk = AdapterWalk(chat, seed, some, tmp_path)
    for _ in range(100):
        walk.step()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["gemma3", "lfm2", "mamba"])
def test_every_kind_of_memory_comes_back_with_what_was_on(
    tmp_path: Path, architecture: str
) -> None:
    """Random moves and questions; wherever the head was before, all is as it was then."""
    path = make_model(tmp_path / "m.gguf", architecture, chat_template=CHATML)
    model, rng = Model.load(path), random.Random(architecture)
    some: list[Adapter] = [LoRA(write_lora(tmp_path / "a.gguf", model)), vector(model)]
    chat = new_chat(model)
    seen: dict[str, tuple[tuple[Adapter, ...], bytes]] = {}
    for _ in range(40):
        places = [c for c in chat.tree if c.id in seen]
        actions = ["switch", "ask"] + ["checkout", "undo", "redo", "regenerate"] * bool(places)
        action = rng.choice(actions)
        if action == "switch":
            chat.adapters = rng.sample(some, rng.randint(0, 2))
        elif action == "ask" and chat.context.token_count() < 800:
            chat.ask(rng.choice(["why?", "how?"]), max_tokens=rng.randint(1, 4))
        elif action == "checkout":
            chat.tree.checkout(rng.choice(places))
            assert chat.adapters == seen[chat.head.id][0]
        elif action == "regenerate" and chat.turns:
            chat.regenerate(max_tokens=rng.randint(1, 4), temperature=1.0)
        elif action in ("undo", "redo"):
            getattr(chat, action)()
        head = chat.head
        if not head.is_root:
            made_with = tuple(chat.context.known_adapters.of(head.metadata.adapters))
            now = made_with, chat.context.logits.tobytes()
            assert seen.setdefault(head.id, now) == now
