"""Files with conversations, from other programs and from strangers."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.errors import TranscriptError
from mullama_nb.history.transcripts.file import read_transcripts
from mullama_nb.history.transcripts.transcript import Transcript

SAID = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Name a river."},
    {"role": "assistant", "content": "The Tay."},
]


def conversation(transcript: Transcript, at: int | None = None) -> list[tuple[str, Any]]:
    """Roles and contents up to an entry, or the head."""
    found, index = [], transcript.head if at is None else at
    while index is not None:
        entry = transcript.entries[index]
        found.append((entry.message["role"], entry.message["content"]))
        index = entry.parent
    return found[::-1]


def written(folder: Path, value: Any, name: str = "file.json") -> Path:
    path = folder / name
    text = value if isinstance(value, str) else json.dumps(value)
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for files that are written again and again."""
    return tmp_path_factory.mktemp("files")


ROLES_AND_TEXTS = [(each["role"], each["content"]) for each in SAID]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(SAID, id="a list of messages"),
        pytest.param({"messages": SAID}, id="a mapping with messages"),
        pytest.param([{"messages": SAID}], id="a list of one conversation"),
        pytest.param(
            {
                "conversations": [
                    {"from": "system", "value": "Be brief."},
                    {"from": "human", "value": "Name a river."},
                    {"from": "gpt", "value": "The Tay."},
                ]
            },
            id="ShareGPT",
        ),
        pytest.param(
            {
                "system": "Be brief.",
                "conversations": [
                    {"from": "user", "value": "Name a river."},
                    {"from": "chatgpt", "value": "The Tay."},
                ],
            },
            id="ShareGPT with a system of its own",
        ),
        pytest.param(
            "\n".join(map(json.dumps, [{"messages": SAID}])) + "\n", id="one line of JSON"
        ),
    ],
)
def test_other_formats_are_read(tmp_path: Path, value: Any) -> None:
    (transcript,) = read_transcripts(written(tmp_path, value))
    assert conversation(transcript) == ROLES_AND_TEXTS


def test_lines_are_conversations(tmp_path: Path) -> None:
    lines = [{"messages": SAID}, {"messages": SAID[1:]}, SAID[1:]]
    path = written(tmp_path, "\n\n".join(map(json.dumps, lines)), "many.jsonl")
    read = read_transcripts(path)
    assert [conversation(each) for each in read] == [
        ROLES_AND_TEXTS,
        ROLES_AND_TEXTS[1:],
        ROLES_AND_TEXTS[1:],
    ]


def node(name: str, parent: str | None, *children: str, **message: Any) -> dict[str, Any]:
    return {
        "id": name,
        "parent": parent,
        "children": [*children],
        "message": message or None,
    }


def text(role: str, *parts: Any, **others: Any) -> dict[str, Any]:
    content = {"content_type": "text", "parts": [*parts]}
    return {"author": {"role": role}, "content": content, **others}


def test_chatgpts_export_is_a_tree(tmp_path: Path) -> None:
    mapping = {
        "root": node("root", None, "sys"),
        "sys": node("sys", "root", "q", **text("system", "")),
        "a2": node("a2", "q", **text("assistant", "The Spey.")),
        "q": node(
            "q", "sys", "a1", "a2", **text("user", "Name a river.", {"content_type": "image"})
        ),
        "t": node(
            "t",
            "q",
            "a1",
            author={"role": "assistant"},
            content={"content_type": "thoughts", "thoughts": [{"content": "Scotland."}]},
        ),
        "a1": node("a1", "t", "q2", **text("assistant", "The Tay.")),
        "q2": node("q2", "a1", "call", **text("user", "How long?")),
        "call": node("call", "q2", "out", **text("assistant", "tay()", recipient="python")),
        "out": node(
            "out",
            "call",
            author={"role": "tool", "name": "python"},
            content={"content_type": "execution_output", "text": "193"},
        ),
    }
    path = written(tmp_path, [{"title": "Rivers", "mapping": mapping, "current_node": "a2"}])
    (transcript,) = read_transcripts(path)
    assert transcript.title == "Rivers"
    assert transcript.left_out == {"image": 1}
    assert conversation(transcript) == [("user", "Name a river."), ("assistant", "The Spey.")]
    (last,) = (i for i, e in enumerate(transcript.entries) if e.message["content"] == "193")
    assert conversation(transcript, last) == [
        ("user", "Name a river."),
        ("assistant", "The Tay."),
        ("user", "How long?"),
        ("assistant", None),
        ("tool", "193"),
    ]
    thoughts = [entry.message.get("reasoning_content") for entry in transcript.entries]
    assert thoughts.count("Scotland.") == 1
    call = next(e.message["tool_calls"] for e in transcript.entries if "tool_calls" in e.message)
    assert call[0]["function"] == {"name": "python", "arguments": {"input": "tay()"}}


def test_calls_of_tools_and_parts_are_kept(tmp_path: Path) -> None:
    call = {"id": "a1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    said = [
        {"role": "user", "content": [{"type": "text", "text": "What is x?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a1", "name": "f", "content": "1"},
        {"role": "assistant", "content": "1", "reasoning": "One.", "weight": 0},
    ]
    tools = [{"type": "function", "function": {"name": "f"}}]
    (transcript,) = read_transcripts(written(tmp_path, {"messages": said, "tools": tools}))
    del said[3]["weight"]
    said[3]["reasoning_content"] = said[3].pop("reasoning")
    assert [entry.message for entry in transcript.entries] == said
    assert transcript.tools == tools


WRONG = {
    "there is no such file": None,
    "it is not JSON": "[{",
    "nests too deeply": "[" * 1_000_000 + "]" * 1_000_000,
    "NaN is not a number": '{"messages": [{"role": "user", "content": NaN}]}',
    "a key stands twice": '{"messages": [{"role": "user", "role": "tool", "content": ""}]}',
    "not a conversation": {"role": "user", "content": "x"},
    "not 7": 7,
    "message 1: role is missing": [{"role": "user", "content": "x"}, {"content": "y"}],
    "message 0: content is": [{"role": "user", "content": 7}],
    "message 0 has neither": [{"role": "user", "content": None}],
    "message 0: role is a short text": [{"role": "a\nb", "content": "x"}],
    "surrogate": [{"role": "user", "content": "\ud800"}],
    "there are no messages in it": [],
    "conversation 1: message 0: role": [{"messages": SAID}, {"messages": [{"content": "x"}]}],
    "message 0: value is a text": {"conversations": [{"from": "gpt", "value": 1}]},
    "call 0: name": [{"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]}],
    "own ancestor": {"mapping": {"a": node("a", "b"), "b": node("b", "a")}},
    "version 1": {"format": "mullama-transcript", "version": 1, "checkpoints": []},
    "parent 'z'": {
        "format": "mullama-transcript",
        "version": 2,
        "messages": [{"id": "a", "parent": "z", "message": SAID[1]}],
    },
    "id 'a' stands twice": {
        "format": "mullama-transcript",
        "version": 2,
        "messages": [{"id": "a", "parent": None, "message": SAID[1]}] * 2,
    },
    "last_message 'z'": {
        "format": "mullama-transcript",
        "version": 2,
        "last_message": "z",
        "messages": [{"id": "a", "parent": None, "message": SAID[1]}],
    },
    "line 2: it is not JSON": json.dumps({"messages": SAID}) + "\n{\n",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, words: str) -> None:
    path = tmp_path / "file.json"
    if (value := WRONG[words]) is not None:
        written(tmp_path, value)
    with pytest.raises(TranscriptError, match=r"^file\.json: ") as refused:
        read_transcripts(path)
    assert words in str(refused.value)


def test_markdown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TranscriptError, match=r"chat\.md: .* export the chat to \.json"):
        read_transcripts(written(tmp_path, "**user**\n\nx", "chat.md"))


def test_a_folder_and_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TranscriptError):
        read_transcripts(tmp_path)
    (tmp_path / "b.json").write_bytes(b'"\xff"')
    with pytest.raises(TranscriptError, match="byte 1 is not UTF-8"):
        read_transcripts(tmp_path / "b.json")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def trees(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Messages of our format: parents first, anywhere."""
    rows: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, 12))):
        parents = [None, *(row["id"] for row in rows)]
        role = draw(st.sampled_from(["system", "user", "assistant", "tool"]))
        row: dict[str, Any] = {"id": f"n{index}", "parent": draw(st.sampled_from(parents))}
        row |= {"message": {"role": role, "content": draw(TEXTS)}}
        row["tags"] = [f"t{index}"] * draw(st.booleans())
        rows.append(row)
    return rows


@pytest.mark.slow
@given(trees())
def test_our_own_trees_are_read_as_they_were_written(
    folder: Path, rows: list[dict[str, Any]]
) -> None:
    body: dict[str, Any] = {"format": "mullama-transcript", "version": 2, "messages": rows}
    body["last_message"] = rows[0]["id"]
    path = written(folder, body)
    (transcript,) = read_transcripts(path)
    ids = [row["id"] for row in rows]
    assert transcript.head == 0
    for row, entry in zip(rows, transcript.entries, strict=True):
        assert entry.message == row["message"]
        assert entry.tags == tuple(row["tags"])
        assert (None if entry.parent is None else ids[entry.parent]) == row["parent"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
FORMATS: list[Any] = [
    {"messages": SAID, "tools": [{}]},
    {"conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": "{}"}]},
    {"mapping": {"a": node("a", None, "b", **text("user", "x")), "b": node("b", "a")}},
    {
        "format": "mullama-transcript",
        "version": 2,
        "last_message": "a",
        "messages": [{"id": "a", "parent": None, "message": SAID[1], "tags": ["t"]}],
    },
]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Each container in a value with each of its keys."""
    found, stack = [], [value]
    while stack:
        each = stack.pop()
        keys = (
            each if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else ()
        )
        for key in keys:
            found.append((each, key))
            stack.append(each[key])
    return found


@pytest.mark.slow
@given(st.sampled_from(FORMATS), JSON, st.integers(0, 2**16), st.booleans())
def test_damage_is_refused_in_words_or_harmless(
    folder: Path, value: Any, other: Any, seed: int, cuts: bool
) -> None:
    value = json.loads(json.dumps(value))
    holder, key = random.Random(seed).choice(places(value))
    holder[key] = other
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    data = data[: seed % (len(data) + 1)] if cuts else data
    path = folder / "file.json"
    path.write_bytes(data)
    with contextlib.suppress(TranscriptError):  # whose words say which file it is
        read = read_transcripts(path)
        assert all(isinstance(e.message["role"], str) for t in read for e in t.entries)
