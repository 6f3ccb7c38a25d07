"""Answers with thoughts and calls: how turns, messages and the next prompt have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from template_models import make_template_model
from tiny_models import CHATML

from mullama_nb import Chat, Model
from mullama_nb.engine.completion import Token
from mullama_nb.errors import ParameterWarning
from mullama_nb.history.drawing import label
from mullama_nb.testing import record, replay

FOLDER = Path(__file__).parents[1] / "templates"
TOOL = {
    "type": "function",
    "function": {
        "name": "tide_at",
        "description": "High water.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}
HARMONY = (
    "<|channel|>analysis<|message|>Who keeps it?<|end|>"
    "<|start|>assistant<|channel|>final<|message|>Ada keeps it."
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("models")
    names = ("qwen3_thoughts", "r1_opens_thought", "gptoss_channels", "mistral_thoughts")
    return {
        name: Model.load(
            make_template_model(folder / f"{name}.gguf", (FOLDER / f"{name}.jinja").read_text())
        )
        for name in names
    }


def chat_of(model: Model, **options: Any) -> Chat:
    return Chat(model, n_ctx=1024, n_threads=1, **options)


def test_a_thought_is_apart_from_the_text(models: dict[str, Model], tmp_path: Path) -> None:
    chat = chat_of(models["r1_opens_thought"])
    seen: list[Token] = []
    how: dict[str, Any] = {"reasoning_budget": 4, "temperature": 1.2, "seed": 3, "max_tokens": 24}
    turn = chat.ask("Why?", on_token=seen.append, **how)
    assert turn.reasoning is not None
    assert "</think>" in turn.raw
    assert "</think>" not in turn.text + turn.reasoning
    assert str(turn) == turn.text == chat.messages[-1]["content"]
    assert chat.messages[-1]["reasoning_content"] == turn.reasoning
    assert chat.turns[-1].reasoning == turn.reasoning
    thought = "".join(token.text for token in seen if token.part == "reasoning")
    assert thought + "".join(token.text for token in seen if token.part == "text") == turn.raw
    assert turn.checkpoint.metadata.limits == {"max_tokens": 24, "reasoning_budget": 4}
    chat.ask("And then?", **how)
    assert [message["role"] for message in chat.messages] == ["user", "assistant"] * 2
    assert turn.reasoning not in chat.model.detokenize(chat.context.tokens[: -len(seen)])
    chat.undo()
    assert chat.turns[-1].reasoning == turn.reasoning
    chat.redo()
    chat.save("thoughts", tmp_path)
    assert Chat.open("thoughts", chat.model, tmp_path).messages == chat.messages
    record(chat, tmp_path / "thoughts.mullama.json")
    assert replay(tmp_path / "thoughts.mullama.json", chat.model, "exact").is_identical


def test_a_budget_holds_in_every_way_to_answer(models: dict[str, Model]) -> None:
    chat = chat_of(models["r1_opens_thought"])
    how: dict[str, Any] = {"reasoning_budget": 4, "temperature": 1.2, "seed": 3}
    turn = chat.ask("Why?", max_tokens=16, **how)
    chat.regenerate(max_tokens=7, **how)
    whole = chat.regenerate(max_tokens=16, **how)
    begun = chat.checkout(whole.checkpoint.siblings[0])
    assert begun is not None
    (again,) = chat.explore(n=1, max_tokens=16, exact=True, **how)
    assert again.raw.count("</think>") == 1
    cut = chat.ask("Why?", max_tokens=2, **how)
    assert (cut.text, bool(cut.reasoning)) == ("", True)
    rest = chat.resume(max_tokens=14, **how)
    assert rest.raw.count("</think>") == 1
    assert len(rest.tokens) == 16
    assert turn.raw.count("</think>") == 1


@pytest.mark.slow
@pytest.mark.parametrize("begun", ["<think>", "<think>It is a", "<think>No.</think>It", "It"])
def test_explored_answers_know_how_they_were_begun(
    models: dict[str, Model], begun: str, tmp_path: Path
) -> None:
    model = models["qwen3_thoughts"]
    asked = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": begun}]
    how: dict[str, Any] = {"reasoning_budget": 8, "temperature": 1.2, "seed": 3, "max_tokens": 24}
    chat, other = chat_of(model), chat_of(model)
    said: list[Token] = []
    turn = other.ask(asked, on_token=said.append, **how)
    seen: dict[int, list[Token]] = {}
    answers = chat.explore(
        asked, 2, exact=True, on_token=lambda n, token: seen.setdefault(n, []).append(token), **how
    )
    assert (answers[0].raw, seen[0]) == (turn.raw, said)
    assert answers[0].reasoning == turn.reasoning
    in_thought = begun.startswith("<think>") and "</think>" not in begun
    assert [token.part for token in said].count("reasoning") >= 7 * in_thought
    assert {token.part for token in said} == {"text", *["reasoning"] * in_thought}
    answers[1].keep()
    record(chat, tmp_path / "begun.mullama.json")
    assert replay(tmp_path / "begun.mullama.json", chat.model, "exact").is_identical


def test_an_answer_in_channels_lets_the_chat_go_on(models: dict[str, Model]) -> None:
    chat = chat_of(models["gptoss_channels"])
    chat.ask("Who keeps the light?", max_tokens=3)
    turn = chat.edit(HARMONY, chat.turns[-1])
    assert (turn.reasoning, turn.text) == ("Who keeps it?", "Ada keeps it.")
    chat.ask("And who sweeps?", max_tokens=3)  # the template refuses channels in a content
    assert chat.messages[1] == {
        "role": "assistant",
        "content": "Ada keeps it.",
        "reasoning_content": "Who keeps it?",
    }
    held = chat.model.detokenize(chat.context.tokens, special=True)
    assert "<|channel|>final<|message|>Ada keeps it.<|end|>" in held
    assert held.count("analysis") == 0  # the template leaves out earlier thoughts


def test_a_thought_in_control_tokens_of_its_own(models: dict[str, Model]) -> None:
    chat = chat_of(models["mistral_thoughts"])
    chat.ask("Why?", max_tokens=2)
    turn = chat.edit("[THINK]Because.[/THINK]So.", chat.turns[-1])
    assert (turn.reasoning, turn.text, turn.raw) == (
        "Because.",
        "So.",
        "[THINK]Because.[/THINK]So.",
    )


def test_calls_are_messages_that_templates_know(models: dict[str, Model]) -> None:
    chat = chat_of(models["qwen3_thoughts"], tools=[TOOL])
    chat.ask("When is high water?", max_tokens=2)
    raw = '<tool_call>\n{"name": "tide_at", "arguments": {"place": "Hull"}}\n</tool_call>'
    turn = chat.edit(f"<think>\nLook.\n</think>\n\n{raw}", chat.turns[-1])
    (call,) = turn.tool_calls
    assert (call.name, call.arguments, call.error) == ("tide_at", {"place": "Hull"}, None)
    assert (turn.reasoning, turn.text) == ("Look.", "")
    assert chat.messages[-1]["tool_calls"] == [call.as_message()]
    assert "tide_at" in label(turn.checkpoint)
    result = {"role": "tool", "tool_call_id": call.id, "name": "tide_at", "content": "noon"}
    answer = chat.ask(result, max_tokens=2)
    assert "noon" in chat.model.detokenize(chat.context.tokens, special=True)
    assert answer.tool_calls == ()
    given = [{"role": "user", "content": "?"}, *chat.messages[1:3]]
    other = Chat.from_messages(chat.model, given, n_ctx=1024, n_threads=1, tools=[TOOL])
    assert other.turns[1].tool_calls[0].arguments == {"place": "Hull"}


def test_a_call_that_cannot_be_read_stays_in_the_text(models: dict[str, Model]) -> None:
    chat = chat_of(models["qwen3_thoughts"], tools=[TOOL])
    chat.ask("When?", max_tokens=2)
    turn = chat.edit("Wait.\n<tool_call>\n{oops\n</tool_call>", chat.turns[-1])
    (call,) = turn.tool_calls
    assert call.error is not None
    assert "{oops" in turn.text
    assert "tool_calls" not in chat.messages[-1]
    chat.ask("And now?", max_tokens=2)
    assert "{oops" in chat.model.detokenize(chat.context.tokens, special=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3_thoughts", "r1_opens_thought", "mistral_thoughts"])
def test_kept_thoughts_are_never_evaluated_again(
    models: dict[str, Model], name: str, tmp_path: Path
) -> None:
    model = models[name]
    chat = chat_of(model, keep_reasoning=True, system="Be brief.")
    how: dict[str, Any] = {"temperature": 1.2, "seed": 5, "reasoning_budget": 3}
    held: tuple[int, ...] = ()
    for n in range(3):
        turn = chat.ask(f"Question {n}?", max_tokens=9, **how)
        assert (turn.evaluated_again, turn.rewritten) == (0, None)
        assert chat.context.tokens[: len(held)] == held
        assert turn.reused == len(held)
        if n == 1:
            chat.edit("Ada.\n</think>\n\nYes.", turn)
        held = chat.context.tokens
    text = model.detokenize(held, special=True)
    assert [text.count(f"Question {n}?") for n in range(3)] == [1, 1, 1]
    assert [message["role"] for message in chat.messages[1:]] == ["user", "assistant"] * 3
    chat.undo()
    chat.redo()
    assert chat.context.tokens == held
    chat.save("kept", tmp_path)
    opened = Chat.open("kept", model, tmp_path)
    assert opened.keep_reasoning
    assert opened.ask("More?", max_tokens=2).reused == len(held)
    record(chat, tmp_path / "kept.mullama.json")
    assert replay(tmp_path / "kept.mullama.json", model, "exact").is_identical


def test_a_kept_call_is_followed_by_its_result(models: dict[str, Model]) -> None:
    chat = chat_of(models["qwen3_thoughts"], tools=[TOOL], keep_reasoning=True)
    chat.ask("When is high water?", max_tokens=2)
    raw = '<think>\nLook.\n</think>\n\n<tool_call>\n{"name":"tide_at","arguments":{}}\n</tool_call>'
    chat.edit(raw, chat.turns[-1])
    held = chat.context.tokens
    turn = chat.ask({"role": "tool", "name": "tide_at", "content": "noon"}, max_tokens=2)
    assert turn.reused == len(held)
    assert chat.context.tokens[: len(held)] == held
    added = chat.model.detokenize(chat.context.tokens[len(held) :], special=True)
    assert added.startswith("<|im_end|>\n<|im_start|>user\n<tool_response>\nnoon")


def test_what_was_evaluated_again_is_said_with_the_reason(models: dict[str, Model]) -> None:
    chat = chat_of(models["qwen3_thoughts"])
    chat.ask("Why?", max_tokens=2)
    chat.edit("<think>\nLook.\n</think>\n\nSo.", chat.turns[-1])
    turn = chat.ask("And then?", max_tokens=2)
    assert turn.evaluated_again > 0
    assert turn.rewritten == "the template leaves out earlier thoughts"
    assert turn.rewritten in repr(turn)


def test_a_budget_without_thoughts_is_warned_of(tiny: ModelMaker) -> None:
    chat = Chat(tiny(chat_template=CHATML), n_ctx=256, n_threads=1)
    with pytest.warns(ParameterWarning, match="no thoughts"):
        chat.ask("Why?", max_tokens=2, reasoning_budget=3)
    for given in ({"reasoning_budget": 3}, {"vary": {"reasoning_budget": [None, 3]}}):
        with pytest.warns(ParameterWarning, match="no thoughts") as warned:
            chat.explore("Why?", max_tokens=2, **given)
        assert len(warned) == 1
        assert warned[0].filename == __file__
