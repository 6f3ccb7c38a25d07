"""Whatever is edited in a recording is noticed when it is read, and what counts again when not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from testing.conversation import rewrite
from tiny_models import make_model
from tree_walk import Walk

from mullama_nb import Chat, Model
from mullama_nb.errors import ParameterError
from mullama_nb.testing import RecordingError, read, record, record_again, replay
from mullama_nb.testing.sealing import seal

Body = dict[str, Any]
Place = tuple[str | int, ...]

TEMPLATE = (
    "{%- if tools -%}{{ '<|im_start|>tools\n' + tools | tojson + '<|im_end|>\n' }}{%- endif -%}"
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"deep": [1, True]}}}]

FREE = {
    "model": "a name to look the weights up by; the settings hold which they were",
    "params.n_ctx": "room; what depends on it stands in the settings",
    "params.n_batch": "how it is replayed, which is what is compared",
    "params.n_ubatch": "how it is replayed, which is what is compared",
    "params.n_threads": "the environment holds it",
    "params.n_threads_batch": "the environment holds it",
    "params.n_parallel": "how many are explored together, and a replay explores nothing",
    "tags.*": "names that people give",
    "entries.*.notes.sampling": "it counts as far as other tokens are drawn",
    "entries.*.notes.sibling": "it counts as far as other tokens are drawn",
    "entries.*.notes.limits": "when to end an answer that is led again",
    "entries.*.notes.finish_reason": "when to end an answer that is led again",
    "entries.*.notes.hidden": "how much of an answer is shown; what follows it is rendered",
    "entries.*.notes.explored": "what was decoded beside it, for whoever reads",
    "entries.*.notes.edited": "for whoever reads",
    "entries.*.notes.evaluated_again": "for whoever reads",
    "entries.*.notes.source": "for whoever reads",
    "entries.*.notes.taken_from": "for whoever reads",
    "entries.*.notes.came_from": "what was said before; what follows that is rendered",
    "entries.*.notes.continues": "which answer it belongs to; what follows that is rendered",
    "entries.*.notes.cut": "which answer it belongs to; what follows that is rendered",
    "entries.*.notes.role": "of an answer, and what follows that is rendered",
    "entries.*.notes.new": "a note of one's own",
    "entries.*.notes.message.new": "the chat template leaves it out",
    "entries.*.notes.history.*.new": "the chat template leaves it out",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """One that shows its tools, and ends some of its answers."""
    path = tmp_path_factory.mktemp("model") / "m.gguf"
    return Model.load(make_model(path, "llama", chat_template=TEMPLATE, ends=True))


@pytest.fixture(scope="module")
def sound(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording with branches, edits, forks, tools and text that is not a message."""
    chat = Chat(model, "Be brief.", tools=TOOLS, seed=1, n_ctx=512, n_threads=1)
    first = chat.ask("hello", max_tokens=4)
    chat.explore("and?", n=2, max_tokens=3)
    chat.fork(first, token=2, choose=" the", max_tokens=2)
    chat.resume(max_tokens=2)
    chat.edit("other", max_tokens=3, logit_bias={2: 100.0})  # it ends at once
    chat.ask([{"role": "user", "content": "one"}, {"role": "user", "content": "two"}], max_tokens=2)
    chat.edit("put", turn=chat.head)
    chat.tag("put")
    chat.undo()
    chat.context.evaluate("plain")
    chat.tree.commit(source="context")
    path = tmp_path_factory.mktemp("edits") / "sound.mullama.json"
    recording = record(chat, path)
    assert all(entry.is_rendered in (True, None) for entry in recording.entries)
    assert any(entry.end is not None for entry in recording.entries)
    assert any(entry.after for entry in recording.entries)
    assert replay(path, model, "exact").is_identical
    return path


def load(path: Path) -> Body:
    body: Body = json.loads(path.read_text("utf-8"))
    return body


def kind(place: Place) -> str:
    """A place, whichever entry or item it is of."""
    names = [
        "*" if isinstance(key, int) or (place[0] == "tags" and i) else key
        for i, key in enumerate(place)
    ]
    return ".".join(map(str, names))


def reason(place: Place) -> str | None:
    """Why a place is free, if it is."""
    name = kind(place)
    return next((FREE[key] for key in FREE if f"{name}.".startswith(f"{key}.")), None)


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    for key, each in [*(value.items() if isinstance(value, dict) else enumerate(value))]:
        yield (*place, key)
        if isinstance(each, (dict, list)):
            yield from places(each, (*place, key))


def at(body: Any, place: Place) -> Any:
    for key in place:
        body = body[key]
    return body


def others(value: Any) -> list[Any]:
    """What may be written instead of a value."""
    if isinstance(value, bool):
        return [not value, int(value), None]
    if isinstance(value, int):
        return [value + 1, max(0, value - 1), float(value), -1, str(value), None]
    if isinstance(value, float):
        return [value - 0.25, value * 1.001, value + 5, None, [value]]
    if isinstance(value, str):
        return [f"{value}x", value[1:], value.swapcase(), "", 1, None]
    if value is None:
        return [1, "x", {}, []]
    return [None, "x", [value]]


class Edit:
    """One thing in a recording that was dropped, added or written otherwise."""

    def __init__(self, body: Body, place: Place, what: str) -> None:
        self.body = body
        self.place = place
        self._what = what

    def __repr__(self) -> str:
        return f"Edit({self._what} {self.place})"


@st.composite
def edits(draw: st.DrawFn, body: Body) -> Edit:
    """The recording with an edit of some kind of place, all kinds being as likely."""
    by_kind: dict[str, list[Place]] = {}
    for each in places(body):
        by_kind.setdefault(kind(each), []).append(each)
    place = draw(st.sampled_from(by_kind[draw(st.sampled_from(sorted(by_kind)))]))
    edited = copy.deepcopy(body)
    owner, key = at(edited, place[:-1]), place[-1]
    value = owner[key]
    what = draw(st.sampled_from(["drop", "alter", "add"]))
    if what == "drop":
        del owner[key]
    elif what == "alter" or not isinstance(value, (dict, list)):
        owner[key] = draw(st.sampled_from(others(value)))
    elif isinstance(value, dict):
        value["new"] = draw(st.sampled_from([None, 1, "x", {}]))
        place = (*place, "new")
    else:
        value.append(copy.deepcopy(draw(st.sampled_from([*value, None, 1, {}]))))
    assume(json.dumps(edited) != json.dumps(body))
    return Edit(edited, place, what)


def refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (RecordingError, ParameterError):  # the latter: of tokens that no vocabulary has
        return True
    return False


QUICK = partial(settings, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@QUICK(max_examples=300)
@given(st.data())
def test_every_edit_is_noticed(sound: Path, data: st.DataObject) -> None:
    edit = data.draw(edits(load(sound)))
    path = sound.with_name("edited.mullama.json")
    path.write_text(json.dumps(edit.body), "utf-8")
    assert refused(lambda: read(path))


@pytest.mark.slow
@QUICK(max_examples=300)
@given(st.data())
def test_an_edit_with_new_checksums(sound: Path, model: Model, data: st.DataObject) -> None:
    """It is refused, it replays otherwise, or nothing that a recording holds depends on it."""
    edit = data.draw(edits(load(sound)))
    try:
        seal(edit.body)
    except (AttributeError, KeyError, TypeError):
        return  # not even that can be had of it
    path = sound.with_name("resealed.mullama.json")
    path.write_text(json.dumps(edit.body), "utf-8")
    if reason(edit.place) is None and not refused(lambda: read(path)):
        is_same = repr(vars(read(path))) == repr(vars(read(sound)))  # a default was left out
        assert is_same or refused(lambda: replay_exactly(path, model))


@pytest.mark.slow
def test_a_given_answer_is_the_whole_of_its_tokens(sound: Path, model: Model) -> None:
    n_entries = len(load(sound)["entries"])
    for i in range(n_entries):
        body = load(sound)
        message = body["entries"][i]["notes"].get("message", {})
        if message.get("role") == "assistant":
            message["content"] += "x"
            seal(body)
            path = sound.with_name("longer.mullama.json")
            path.write_text(json.dumps(body), "utf-8")
            assert refused(lambda path=path: replay_exactly(path, model))  # type: ignore[misc]


def replay_exactly(path: Path, model: Model) -> None:
    report = replay(path, model, "exact")
    if not report.passed:
        raise RecordingError(str(report))


def answered(body: Body) -> list[Body]:
    return [entry for entry in body["entries"] if "sampling" in entry["notes"]]


def said_otherwise(entry: Body, model: Model, old: str, new: str) -> None:
    """Edit message, text and tokens alike."""
    entry["text"] = entry["text"].replace(old, new)
    entry["tokens"] = list(model.tokenize(entry["text"], special=True))
    message = entry["notes"].get("message")
    if message is not None:
        message["content"] = message["content"].replace(old, new)


def entry_saying(body: Body, text: str) -> Body:
    return next(entry for entry in body["entries"] if text in entry["text"])


def told_otherwise(body: Body, *, where: str = "everywhere") -> None:
    """Edit the system message in the head, in the notes of what says it, or in both."""
    if where != "said":
        body["system"] = "Be long."
    if where != "head":
        entry_saying(body, "brief")["notes"]["message"]["content"] = "Be long."


CONSISTENT: dict[str, Callable[[Body, Model], object]] = {
    "a question": lambda b, m: said_otherwise(entry_saying(b, "hello"), m, "hello", "help"),
    "the last text": lambda b, m: said_otherwise(entry_saying(b, "plain"), m, "plain", "plant"),
    "words in a mouth": lambda b, m: said_otherwise(entry_saying(b, "put"), m, "put", "pot"),
    "one message": lambda b, _: entry_saying(b, "hello")["notes"]["message"].update(content="x"),
    "a seed": lambda b, _: [e["notes"]["sampling"].update(seed=7) for e in answered(b)],
    "the system message": lambda b, _: told_otherwise(b),
    "the tools": lambda b, _: b["tools"][0]["function"].update(name="listen"),
    "a chat without tools": lambda b, _: b.update(tools=None),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", CONSISTENT)
def test_a_consistent_edit_with_new_checksums(
    sound: Path, tmp_path: Path, model: Model, what: str
) -> None:
    body = load(sound)
    CONSISTENT[what](body, model)
    path = tmp_path / "forged.mullama.json"
    rewrite(path, body)
    assert read(path).entries
    assert not replay(path, model, "exact").passed


@pytest.mark.parametrize("where", ["head", "said"])
def test_a_file_that_tells_two_system_messages_is_refused(
    sound: Path, tmp_path: Path, where: str
) -> None:
    body = load(sound)
    told_otherwise(body, where=where)
    path = tmp_path / "forged.mullama.json"
    rewrite(path, body)
    with pytest.raises(RecordingError) as caught:
        read(path)
    head, said = ("Be long.", "Be brief.") if where == "head" else ("Be brief.", "Be long.")
    assert str(caught.value) == (
        f"forged.mullama.json: its system message is {head!r}, and checkpoint "
        f"{entry_saying(body, 'brief')['id'][:7]} says {said!r}; record it anew"
    )


def test_the_error_says_where_and_what_to_do(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "edited.mullama.json"
    body = load(sound)
    entry_saying(body, "hello")["notes"]["message"]["content"] = "help"
    path.write_text(json.dumps(body), "utf-8")
    with pytest.raises(RecordingError) as caught:
        read(path)
    assert str(caught.value) == (
        f"edited.mullama.json: it was edited since it was recorded: checkpoint "
        f"{entry_saying(body, 'hello')['id'][:7]}; take that back, as with git checkout, or have "
        "it led anew as it stands now, with record_again() or --mullama-update"
    )
    body = load(sound)
    needed = {*body["tags"].values(), *(entry["parent"] for entry in body["entries"])}
    needed |= {entry["notes"].get("came_from") for entry in body["entries"]}
    unneeded = next(entry for entry in body["entries"] if entry["id"] not in needed)
    body["entries"].remove(unneeded)
    path.write_text(json.dumps(body), "utf-8")
    n = len(body["entries"])
    with pytest.raises(RecordingError, match=f"since it was recorded: {n} of {n + 1} checkpoints"):
        read(path)
    body = load(sound)
    body["tags"]["other"] = body["tags"].pop("put")
    path.write_text(json.dumps(body), "utf-8")
    with pytest.raises(RecordingError, match="its head, or which checkpoints there are;"):
        read(path)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["head", "said", "everywhere"])
def test_an_edited_file_is_led_anew(tmp_path: Path, model: Model, where: str) -> None:
    path = tmp_path / "edited.mullama.json"
    chat = Chat(model, "Be brief.", seed=1, n_ctx=256, n_threads=1)
    chat.ask("hello", max_tokens=4)
    chat.ask("and?", max_tokens=4)
    record(chat, path)
    body = load(path)
    told_otherwise(body, where=where)
    entry_saying(body, "hello")["notes"]["message"]["content"] = "help"
    del body["entries"][-2:]
    path.write_text(json.dumps(body, indent=4), "utf-8")
    record_again(path, model)
    expected = Chat(model, "Be long.", seed=1, n_ctx=256, n_threads=1)
    expected.ask("help", max_tokens=4)
    assert read(path) == record(expected, tmp_path / "expected.mullama.json")
    assert replay(path, model, "exact").is_identical


def test_another_layout_is_no_edit(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "layout.mullama.json"
    path.write_text(json.dumps(load(sound), indent=4).replace("\n", "\r\n"), "utf-8")
    assert read(path) == read(sound)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_whatever_was_led_can_be_recorded(tmp_path: Path, model: Model, seed: int) -> None:
    """And read, replayed and found in its place: after cuts, pruning, forks, loaded states."""
    chat = Chat(model, "Be brief.", n_ctx=1024, n_threads=1, n_parallel=4, seed=seed)
    walk = Walk(chat, seed)
    for _ in range(80):
        walk.step()
    path = tmp_path / "walk.mullama.json"
    recording = record(chat, path)
    assert read(path) == recording
    assert replay(path, model, "exact").is_identical
