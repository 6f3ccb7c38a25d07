"""What the panel does when a view asks, and what it sends."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from tiny_models import CHATML

from mullama_nb import Chat, ControlVector
from mullama_nb.engine.completion import Part
from mullama_nb.errors import ParameterError
from mullama_nb.history.events import AdaptersChanged, Event, Moved, Progress, Tagged, TokenAdded
from mullama_nb.widgets.chat_panel import ChatPanel
from mullama_nb.widgets.funnel import funnel_message


@pytest.fixture
def chat(tiny: ModelMaker) -> Chat:
    """A chat whose answers are four tokens long."""
    model = tiny("llama", chat_template=CHATML)
    return Chat(model, n_ctx=512, n_threads=1, n_threads_batch=1)


@pytest.fixture
def panel(chat: Chat) -> Iterator[ChatPanel]:
    """A panel on the chat."""
    made = ChatPanel(chat)
    yield made
    made.close()


def test_follows_a_tree_that_others_move(chat: Chat, panel: ChatPanel) -> None:
    chat.ask("Hi", max_tokens=4)
    first, answer = panel.take_snapshot()["messages"]
    assert (first["role"], first["text"]) == ("user", "Hi")
    assert answer["unfinished"]
    assert answer["tokens"]
    chat.undo()
    assert panel.take_snapshot()["messages"] == []


def test_edits_and_shows_siblings(chat: Chat, panel: ChatPanel) -> None:
    answer = chat.ask("Hi", max_tokens=4)
    panel.handle("edit", {"checkpoint": answer.checkpoint.id, "text": "Other"})
    shown = panel.take_snapshot()["messages"][-1]
    assert shown["text"] == "Other"
    assert (shown["place"], shown["count"]) == (2, 2)
    assert (shown["before"], shown["after"]) == (answer.checkpoint.id, None)
    panel.handle("show", {"checkpoint": shown["before"]})
    assert chat.head is answer.checkpoint


def test_has_the_model_answer(tiny: ModelMaker) -> None:
    """Each action ends by itself where the context is full."""
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=64, n_threads=1, n_threads_batch=1)
    panel = ChatPanel(chat)
    busy: list[bool] = []
    asked: list[str] = []
    panel.observe(lambda change: busy.append(change["new"]), "is_busy")
    panel.observe(lambda change: asked.append(change["new"]), "pending")
    panel.handle("ask", {"text": "Hi"})
    first = chat.head
    assert chat.turns[0].text == "Hi"
    panel.handle("regenerate", {"checkpoint": first.id})
    assert chat.head.siblings == (first, chat.head)
    panel.handle("fork", {"checkpoint": chat.head.id, "token": 2, "choose": 7})
    assert chat.turns[-1].tokens[2] == 7
    panel.handle("edit", {"checkpoint": chat.turns[0].checkpoint.id, "text": "Ho"})
    assert chat.turns[0].text == "Ho"
    assert busy == [True, False] * 4
    assert asked == ["Hi", ""]
    panel.close()


def test_shows_tokens_and_what_could_stand_there(chat: Chat, panel: ChatPanel) -> None:
    answer = chat.ask("Hi", max_tokens=4)
    identifier = answer.checkpoint.id
    panel.handle("tokens", {"checkpoint": identifier})
    assert len(panel.detail["tokens"]) == len(answer.tokens)
    assert all(0 <= p <= 1 for _, p, _ in panel.detail["tokens"])
    panel.handle("alternatives", {"checkpoint": identifier, "token": 1})
    expected = [other.id for other in answer.alternatives(1)]
    assert [other[0] for other in panel.alternatives["found"]] == expected
    assert panel.alternatives["chosen"] == answer.tokens[1]
    panel.handle("choice", {"checkpoint": identifier, "token": 1})
    assert panel.alternatives["choice"] == funnel_message(answer.choice(1))
    assert [other[0] for other in panel.alternatives["found"]] == expected
    panel.handle("entropy", {"checkpoint": identifier})
    assert panel.entropy["values"] == pytest.approx(answer.entropy.tolist(), abs=1e-3)
    panel.handle("close", {})
    assert panel.detail == panel.alternatives == panel.entropy == {}


def test_a_token_has_signs_for_what_is_not_seen(chat: Chat, panel: ChatPanel) -> None:
    hidden = "a\u202eb\n\x00"
    answer = chat.edit(hidden, chat.ask("Hi", max_tokens=2))
    panel.handle("tokens", {"checkpoint": answer.checkpoint.id})
    tokens = panel.detail["tokens"]
    assert all(text.isprintable() for text, _, _ in tokens)
    assert sum(n for _, _, n in tokens) >= 1


def test_tokens_stand_beside_their_own_probabilities(chat: Chat, panel: ChatPanel) -> None:
    """Those that were not drawn have none."""
    chat.ask("Hi", max_tokens=4)
    question = chat.turns[0]
    panel.handle("tokens", {"checkpoint": question.checkpoint.id})
    assert {p for _, p, _ in panel.detail["tokens"]} == {None}
    chosen = chat.fork(chat.turns[-1], token=2, choose=7, max_tokens=2)
    panel.handle("tokens", {"checkpoint": chosen.checkpoint.id})
    found = [p for _, p, _ in panel.detail["tokens"]]
    assert found == pytest.approx([math.exp(logprob) for logprob in chosen.logprobs])


def test_sends_only_new_text_while_an_answer_streams(panel: ChatPanel) -> None:
    panel.listen(False)  # what it hears is given to it here
    [first] = panel.changes([TokenAdded(1, "a", -1.0), TokenAdded(2, "b", -1.0)])
    [second] = panel.changes([TokenAdded(3, "c", -1.0)])
    assert first["live"]["whole"]["text"] == "<p>ab</p>\n"
    assert second == {"live": {"text": (5, "c</p>\n")}}
    assert panel.take_snapshot()["live"]["text"] == "<p>abc</p>\n"
    [last] = panel.changes([Moved("a", "b")])
    assert last["live"] is None


THINKING = """{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>
{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
<think>
{% endif %}"""


@pytest.fixture
def thinking(tiny: ModelMaker) -> Chat:
    """A chat whose prompts open a thought."""
    return Chat(tiny("llama"), chat_template=THINKING, n_ctx=512, n_threads=1, seed=1)


def test_a_thought_and_a_call_stream_beside_the_text(thinking: Chat) -> None:
    thinking.replay([{"role": "user", "content": "Hi"}])
    panel = ChatPanel(thinking)
    panel.listen(False)
    said = ["Hm, ", "**two**.\n</th", "ink>\n", "\nTwo.", "<tool_call>\n", "{", '"name"']
    parts: list[Part] = [*["reasoning"] * 3, "text", *["tool_call"] * 3]
    changes = [
        change["live"]
        for n, (text, part) in enumerate(zip(said, parts, strict=True))
        for change in panel.changes([TokenAdded(20 + n, text, -1.0, part=part)])
    ]
    assert (changes[0]["whole"]["n_thought"], changes[1]["n_thought"]) == (1, 2)
    assert changes[3] == {"text": (0, "<p>Two.</p>\n")}
    assert changes[4:] == [{}, {"calls": (0, "{")}, {"calls": (1, '"name"')}]
    live = panel.take_snapshot()["live"]
    assert live["thought"] == "<p>Hm, <strong>two</strong>.</p>\n"
    assert (live["text"], live["calls"], live["continues"]) == ("<p>Two.</p>\n", '{"name"', False)
    panel.close()


@pytest.mark.parametrize("cut", [1, 14, 22, 30])
def test_what_streams_becomes_the_message(thinking: Chat, cut: int) -> None:
    """Also where an answer goes on that was stopped in its thought, or behind it."""
    panel = ChatPanel(thinking)
    panel.listen(False)
    heard: list[Event] = []
    subscription = thinking.tree.on_change(heard.append)
    turn = thinking.ask("Hi", max_tokens=cut, reasoning_budget=8, echo=False)
    if cut < 30:
        turn = thinking.resume(max_tokens=30, reasoning_budget=8, echo=False)
    assert thinking.tree.flush()
    subscription.cancel()
    last = max(i for i, event in enumerate(heard) if isinstance(event, TokenAdded))
    for n in range(last + 1):
        list(panel.changes(heard[n : n + 1]))
    live = panel.take_snapshot()["live"]
    list(panel.changes(heard[last + 1 :]))
    message = panel.take_snapshot()["messages"][-1]
    assert turn.reasoning
    assert turn.text
    assert live["continues"] == (cut < 30)
    assert (live["thought"], live["text"]) == (message["thought"], message["html"])
    assert live["n_thought"] == message["n_thought"] > 8
    assert panel.take_snapshot()["live"] is None
    panel.close()


def test_what_was_evaluated_again_is_told_and_kept(thinking: Chat, tmp_path: Path) -> None:
    template = THINKING.replace("if m.reasoning_content", "if m.reasoning_content and loop.last")
    options = {"n_ctx": 1024, "n_threads": 1, "seed": 1}
    chat = Chat(thinking.model, chat_template=template, **options)
    panel = ChatPanel(chat)
    chat.ask("One", max_tokens=30, reasoning_budget=4, echo=False)
    assert panel.take_snapshot()["messages"][0]["notes"] == []
    turn = chat.ask("Two", max_tokens=2, echo=False)
    assert turn.evaluated_again > 0
    why = "the template leaves out earlier thoughts"
    line = f"{turn.evaluated_again} tokens evaluated again: {why}"
    assert [each["notes"] for each in panel.take_snapshot()["messages"]] == [[], [], [line], []]
    chat.save("kept", tmp_path)
    opened = ChatPanel(Chat.open("kept", chat.model, tmp_path))
    assert opened.take_snapshot()["messages"][2]["notes"] == [line]
    kept = Chat(chat.model, chat_template=template, keep_reasoning=True, **options)
    for question in ("One", "Two"):
        kept.ask(question, max_tokens=30, reasoning_budget=4, echo=False)
    assert not any("evaluated_again" in checkpoint.metadata for checkpoint in kept.tree)
    panel.close()
    opened.close()


def test_a_resumed_answer_streams_on_in_its_row(chat: Chat, panel: ChatPanel) -> None:
    panel.listen(False)  # what it hears is given to it here
    chat.replay([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Good"}])
    question, answer = chat.turns
    moved = Moved(answer.checkpoint.id, question.checkpoint.id)
    [change] = panel.changes([moved, TokenAdded(1, " day", -1.0)])
    assert change["live"]["whole"]["continues"]
    assert change["live"]["whole"]["text"] == "<p>Good day</p>\n"
    back = Moved(question.checkpoint.id, answer.checkpoint.id)
    [change] = panel.changes([back, TokenAdded(1, "Bye", -1.0)])
    assert not change["live"]["whole"]["continues"]
    assert change["live"]["whole"]["text"] == "<p>Bye</p>\n"


def test_a_tag_does_not_cut_what_streams(panel: ChatPanel) -> None:
    panel.listen(False)  # what it hears is given to it here
    list(panel.changes([TokenAdded(1, "a", -1.0)]))
    list(panel.changes([Tagged("here", "0"), TokenAdded(2, "b", -1.0)]))
    assert panel.take_snapshot()["live"]["text"] == "<p>ab</p>\n"


def test_an_explorations_answers_grow_on_cards_of_their_own(panel: ChatPanel) -> None:
    panel.listen(False)  # what it hears is given to it here
    tokens = [TokenAdded(1, "a", -1.0, branch=1), TokenAdded(1, "b", -1.0, branch=0)]
    [change] = panel.changes(tokens)
    assert change.keys() == {"cards"}
    snapshot = panel.take_snapshot()
    assert [live["text"] for live in snapshot["cards"]["live"]] == ["<p>b</p>\n", "<p>a</p>\n"]
    assert snapshot["live"] is None


@pytest.mark.slow
@pytest.mark.parametrize("mark", ["", "<tool_call>", "<think>"])
@pytest.mark.parametrize("piece", ["word ", "a **b** `c`\n\n", "- x\n", "\U0001f600 <&> "])
def test_a_streamed_token_costs_the_same_however_long_the_answer(
    tiny: ModelMaker, piece: str, mark: str
) -> None:
    template = THINKING.replace("<|im_start|>assistant\n<think>", "<|im_start|>assistant")
    chat = Chat(tiny("llama"), chat_template=template, n_ctx=1024, n_threads=1)
    chat.replay([{"role": "user", "content": "Hi"}] * 20)
    panel = ChatPanel(chat)
    panel.listen(False)
    list(panel.changes([TokenAdded(20, mark, -1.0)]))
    sizes = [
        len(json.dumps({"kind": "change", "number": 100_000, **change}))
        for n in range(400)
        for change in panel.changes([TokenAdded(n, piece, -1.0)])
    ]
    assert len(sizes) == 400
    assert max(sizes) < 300
    assert sum(sizes[300:]) < 1.1 * sum(sizes[100:200])
    panel.close()


def test_sends_messages_once(chat: Chat) -> None:
    panel = ChatPanel(chat)
    panel.close()  # it hears what this test tells it
    moved = [Moved("a", "b")]
    chat.replay([{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}])
    [first] = panel.changes(moved)
    assert first["after"] is None
    assert [message["text"] for message in first["messages"]] == ["One", "Two"]

    chat.replay([{"role": "user", "content": "Three"}])
    [second] = panel.changes(moved)
    assert second["after"] == first["messages"][-1]["id"]
    assert [message["text"] for message in second["messages"]] == ["Three"]
    assert second["changed"] == []

    chat.tree.undo()
    [third] = panel.changes(moved)
    assert (third["after"], third["messages"]) == (second["after"], [])


def test_tells_which_fields_of_a_message_changed(chat: Chat) -> None:
    chat.replay([{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}])
    panel = ChatPanel(chat)
    panel.close()
    answer = chat.turns[-1]
    chat.edit("Other", answer)
    chat.checkout(answer)
    [change] = panel.changes([Moved("a", "b")])
    assert change["messages"] == []
    [changed] = change["changed"]
    assert sorted(changed) == ["after", "count", "id"]
    assert (changed["id"], changed["count"]) == (answer.checkpoint.id, 2)


def test_tells_progress(panel: ChatPanel) -> None:
    panel.listen(False)  # what it hears is given to it here
    assert list(panel.changes([Progress(1, 9), Progress(5, 9)])) == [{"progress": [5, 9]}]
    assert panel.take_snapshot()["progress"] == [5, 9]
    assert list(panel.changes([Progress(9, 9)])) == [{"progress": None}]


def test_a_failed_action_is_shown(panel: ChatPanel) -> None:
    shown = threading.Event()
    panel.observe(lambda _: shown.set(), "error")
    message: dict[str, Any] = {"kind": "do", "action": "resume"}
    panel._handle_custom_msg(message, [])
    shown.wait()
    assert "ask" in panel.error
    assert not panel.is_busy


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "</svg>", "[a](javascript:b)"])
def test_hostile_answers_stay_text(thinking: Chat, text: str) -> None:
    panel = ChatPanel(thinking)
    call = {"type": "function", "function": {"name": text, "arguments": {text: text}}}
    thinking.replay([{"role": "user", "content": "Hi"}])
    answer = {"role": "assistant", "content": text, "reasoning_content": text, "tool_calls": [call]}
    thinking.replay([answer])
    shown = panel.take_snapshot()["messages"][1]
    assert shown["calls"] == [[text, json.dumps({text: text})]]  # which a view shows as text
    for html in (shown["html"], shown["thought"], panel.to_html()):
        assert html
        assert not any(part in html for part in ("<script", "</svg", "<a "))
    panel.close()


def test_template_options_are_told_of(tiny: ModelMaker) -> None:
    template = CHATML + "{% if add_generation_prompt and brief %}<think></think>{% endif %}"
    options = {"n_ctx": 512, "n_threads": 1}
    chat = Chat(
        tiny("llama"), chat_template=template, chat_template_kwargs={"brief": "<b>"}, **options
    )
    panel = ChatPanel(chat)
    assert panel.take_snapshot()["settings"] == ["own chat template", 'brief: "<b>"']
    chat.ask("Hi", chat_template_kwargs={"brief": 2}, max_tokens=2)
    assert [each["notes"] for each in panel.take_snapshot()["messages"]] == [["brief: 2"], []]
    panel.close()


def test_adapters_are_told_of(chat: Chat, panel: ChatPanel) -> None:
    panel.listen(False)  # what it hears is given to it here
    rows = np.ones((chat.model.n_layers, chat.model.n_embd))
    rows[0] = 0
    chat.ask("Hi", max_tokens=2)
    assert panel.take_snapshot()["settings"] == []
    vector = ControlVector.from_array(rows, name="<b>calm", scale=0.5)
    chat.adapters = [vector]
    line = "control vector <b>calm, scale 0.5"  # the page shows it as text
    event = AdaptersChanged(chat.head.id)
    assert [each["settings"] for each in panel.changes([event])] == [[line]]
    assert [each for each in panel.changes([event]) if "settings" in each] == []
    chat.ask("Hello", max_tokens=2)
    messages = panel.take_snapshot()["messages"]
    assert [line in each["notes"] for each in messages] == [False, False, True, True]
    chat.adapters = [vector.with_scale(1)]
    html = chat._repr_mimebundle_()[0]["text/html"]
    assert "<p><em>control vector &lt;b&gt;calm</em></p>" in html


def test_a_tools_result_is_a_row_with_its_name(chat: Chat, panel: ChatPanel) -> None:
    result = {"role": "tool", "name": "<b>look", "content": '{"depth": 4000, "unit": "<m>"}'}
    chat.replay([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hm"}, result])
    shown = panel.take_snapshot()["messages"][2]
    assert (shown["role"], shown["name"], shown["text"]) == ("tool", "<b>look", result["content"])
    assert "{&quot;depth&quot;: 4000, &quot;unit&quot;: &quot;&lt;m&gt;&quot;}" in shown["html"]


def test_shows_chats_only(chat: Chat, panel: ChatPanel) -> None:
    assert repr(panel) == "ChatPanel(0 messages)"
    with pytest.raises(ParameterError, match="CheckpointTree"):
        ChatPanel(chat.tree)  # type: ignore[arg-type]
