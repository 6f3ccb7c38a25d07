"""Chats from files: what was exported comes back, with every branch, tag and role."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_models import CHATML, make_model

from mullama_nb import Chat, Model
from mullama_nb.errors import ParameterError, ParameterWarning

SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("model") / "m.gguf"
    return Model.load(make_model(path, "llama", n_layer=1, chat_template=CHATML))


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), "utf-8")
    return path


def exported(chat: Chat, folder: Path) -> list[tuple[Any, ...]]:
    """The messages of an export, each with its parent's index and tags; and the head's index."""
    chat.export(folder / "exported.json")
    body = json.loads((folder / "exported.json").read_text("utf-8"))
    places = {row["id"]: at for at, row in enumerate(body["messages"])}
    rows = [
        (places.get(row["parent"]), row["message"], row["tags"], row["id"] == body["last_message"])
        for row in body["messages"]
    ]
    assert sum(row[3] for row in rows) == bool(rows)
    return rows


def walked(model: Model, seed: int, n_steps: int) -> Chat:
    """A chat with branches, tags, cut answers and unusual texts."""
    draw = random.Random(seed)
    system = draw.choice([None, "Be brief."])
    chat = Chat(model, system, n_ctx=2048, n_threads=1, seed=seed)
    chat.ask("first", max_tokens=2, temperature=1.0)
    words = ["why", "été", "**user**\n\nwho?", "\n\n---\n\n", "<|im_end|>", "a  b ", ""]
    for step in range(n_steps):
        match draw.randrange(7):
            case 0 | 1:
                chat.ask(draw.choice(words) + str(step), max_tokens=2, temperature=1.0)
            case 2:
                chat.regenerate(max_tokens=2, temperature=1.0)
            case 3:
                chat.edit(f"answer {step}", chat.turns[-1])
            case 4:
                chat.edit(f"question {step}", max_tokens=1, temperature=1.0)
            case 5:
                chat.tag(f"t{step}")
            case 6:
                ends = [c for c in chat.tree if c.metadata.is_answer]
                chat.checkout(draw.choice(ends))
    return chat


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(seed=1051, n_steps=12)  # a piece of an answer is the head, and was gone on from
@example(seed=6322127, n_steps=11)
@given(st.integers(0, 2**32), st.integers(0, 12))
def test_an_export_comes_back_as_the_same_tree(
    model: Model, tmp_path: Path, seed: int, n_steps: int
) -> None:
    chat = walked(model, seed, n_steps)
    rows = exported(chat, tmp_path)
    again = Chat.from_transcript(model, tmp_path / "exported.json", n_ctx=2048, n_threads=1)
    assert again.messages == chat.messages
    assert again.system == chat.system
    assert exported(again, tmp_path) == rows
    for each in (chat, again):
        each.context.close()


def test_branches_share_what_is_before_them(model: Model, tmp_path: Path) -> None:
    def node(parent: str | None, role: str, text: str) -> dict[str, Any]:
        content = {"content_type": "text", "parts": [text]}
        return {"parent": parent, "message": {"author": {"role": role}, "content": content}}

    mapping = {
        "q": node(None, "user", "Name a river, and say where it flows to. " * 10),
        "a": node("q", "assistant", "The Tay."),
        "b": node("q", "assistant", "The Spey."),
        "c": node("b", "user", "And a hill?"),
        "d": node("b", "user", "And a lake?"),
    }
    path = written(tmp_path / "chats.json", {"mapping": mapping, "current_node": "d"})
    chat = Chat.from_transcript(model, path, n_ctx=1024)
    assert [m["content"] for m in chat.messages[1:]] == ["The Spey.", "And a lake?"]
    question, *_ = chat.tree
    assert [child.metadata.message["content"] for child in question.children] == [
        "The Tay.",
        "The Spey.",
    ]
    assert sum(checkpoint.metadata.role == "user" for checkpoint in chat.tree) == 3
    assert sum(len(c.tokens) for c in chat.tree) < len(question.tokens) + 150


def test_tools_and_calls_come_back(tmp_path: Path) -> None:
    template = Path(__file__).parents[2] / "templates" / "chatml_tools.jinja"
    source = template.read_text("utf-8")
    model = Model.load(make_model(tmp_path / "m.gguf", "llama", n_layer=1, chat_template=source))
    function = {"name": "f", "description": "It adds.", "parameters": {"type": "object"}}
    tools = [{"type": "function", "function": function}]
    call = {"type": "function", "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}
    said = [
        SYSTEM,
        user("What is x?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        answer("One."),
    ]
    path = written(tmp_path / "a.json", {"messages": said, "tools": tools})
    chat = Chat.from_transcript(model, path)
    assert chat.tools == tools
    assert chat.messages == said
    chat.export(tmp_path / "exported.json")
    again = Chat.from_transcript(model, tmp_path / "exported.json")
    assert again.tools == tools
    assert again.messages == said


def test_several_conversations_are_chosen_from(model: Model, tmp_path: Path) -> None:
    lines = [{"title": "One", "messages": [user("1")]}, {"messages": [user("2")]}]
    path = tmp_path / "many.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    with pytest.raises(ParameterError, match=r"2 conversations \(0: One\): .* index=0 to 1"):
        Chat.from_transcript(model, path)
    chat = Chat.from_transcript(model, path, index=1)
    assert chat.messages == [user("2")]
    with pytest.raises(ParameterError, match="index=2"):
        Chat.from_transcript(model, path, index=2)


def test_branches_may_begin_with_different_system_messages(model: Model, tmp_path: Path) -> None:
    rows = [
        row
        for i in range(2)
        for row in (
            {"id": f"s{i}", "parent": None, "message": {"role": "system", "content": f"S{i}"}},
            {"id": f"q{i}", "parent": f"s{i}", "message": user(f"Q{i}")},
        )
    ]
    body = {"format": "mullama-transcript", "version": 2, "messages": rows}
    chat = Chat.from_transcript(model, written(tmp_path / "a.json", body))
    assert chat.system is None
    said = []
    for leaf in chat.tree.leaves():
        chat.checkout(leaf)
        said.append([message["content"] for message in chat.messages])
    assert said == [["S0", "Q0"], ["S1", "Q1"]]


def test_what_is_no_text_is_named(model: Model, tmp_path: Path) -> None:
    parts = ["What is this?", {"content_type": "image_asset_pointer"}]
    content = {"content_type": "multimodal_text", "parts": parts}
    node = {"parent": None, "message": {"author": {"role": "user"}, "content": content}}
    path = written(tmp_path / "a.json", {"mapping": {"q": node}})
    with pytest.warns(ParameterWarning, match="left out: 1 image_asset_pointer"):
        chat = Chat.from_transcript(model, path)
    assert chat.messages == [user("What is this?")]


def test_a_chat_that_does_not_fit_is_refused(model: Model, tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", [user("why? " * 500)])
    with pytest.raises(Exception, match="tokens"):
        Chat.from_transcript(model, path, n_ctx=256)


def test_control_tokens_of_an_answer_are_plain_text_in_a_file(tmp_path: Path) -> None:
    """A file is not trusted with them; a saved chat is."""
    path = make_model(
        *(tmp_path / "m.gguf", "llama"), n_layer=1, chat_template=CHATML, control_tokens=("<own>",)
    )
    model = Model.load(path)
    (own,) = model.tokenize("<own>", special=True)
    chat = Chat(model, n_ctx=256, n_threads=1, logit_bias={own: 90.0})
    assert chat.ask("why?", max_tokens=2).text == "<own><own>"
    chat.ask("and?", max_tokens=1)
    chat.export(tmp_path / "chat.json")
    again = Chat.from_transcript(model, tmp_path / "chat.json", n_ctx=256, n_threads=1)
    assert again.messages == chat.messages
    chat.save("chat", tmp_path / "store")
    opened = Chat.open("chat", model, tmp_path / "store")
    counts = [each.context.tokens.count(own) for each in (chat, opened, again)]
    assert counts == [3, 3, 0]
