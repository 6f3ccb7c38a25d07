"""What a chat template leaves out of the prompt is noticed."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import pytest
from conftest import ModelMaker
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CHATML

from mullama_nb import Model
from mullama_nb.errors import ChatTemplateError, ParameterWarning

TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {}}}]
ROLES = ("system", "user", "assistant", "tool", "developer", "human")
CALL = {"function": {"name": "find", "arguments": {}}}


def knowing(*roles: str) -> str:
    """A template that leaves out other roles, and a system message that is not the first."""
    return (
        "{% for m in messages %}{% if m.role in " + repr(roles) + " and (m.role != 'system' or "
        "loop.first) %}[{{ m.role }}]{{ m.content | trim }}{% endif %}{% endfor %}"
    )


def said(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": f"{role} says {i}"} for i, role in enumerate(roles)]


def rendered(model: Model, messages: list[dict[str, str]]) -> tuple[str | None, str]:
    try:
        return model.apply_chat_template(messages), ""
    except ChatTemplateError as error:
        return None, str(error)


@pytest.mark.slow
@given(known=st.sets(st.sampled_from(ROLES)), roles=st.lists(st.sampled_from(ROLES), min_size=1))
def test_every_message_arrives_or_that_is_said(
    tiny: ModelMaker, known: set[str], roles: list[str]
) -> None:
    model = tiny(chat_template=knowing(*sorted(known)))
    messages = said(*roles)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prompt, reason = rendered(model, messages)
    if prompt is None:
        assert "leaves out the content of message" in reason
        assert repr(model.name) in reason
        return
    missing = [message for message in messages if message["content"] not in prompt]
    if {*roles} <= {"system"}:
        return  # there is no question yet, which may say it
    assert missing == messages[: len(caught)]
    assert len(caught) <= 1, "of a system message at the beginning, and only of that"


def test_a_long_conversation_is_looked_at_once(tiny: ModelMaker) -> None:
    source = "{% if messages | length > 40 %}{{ raise_exception('no') }}{% endif %}" + CHATML
    model = tiny(chat_template=source)
    for n in range(1, 40):
        model.apply_chat_template(said(*itertools.islice(itertools.cycle(ROLES[1:3]), n)))
    assert len(model.chat_template._arrival._arrived) <= 8


def test_calls_that_do_not_arrive_are_refused(tiny: ModelMaker) -> None:
    calls = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    messages: list[dict[str, Any]] = [*said("user"), calls, {"role": "tool", "content": "found"}]
    with pytest.raises(ChatTemplateError, match="leaves out the tool calls of message 1"):
        tiny(chat_template=knowing("user", "assistant", "tool")).apply_chat_template(messages)
    first = "{{ m.tool_calls[0].function.name if m.tool_calls else m.content }}"
    model = tiny(chat_template="{% for m in messages %}" + first + "{% endfor %}")
    assert model.apply_chat_template(messages) == "user says 0findfound"
    twice = [*said("user"), {**calls, "tool_calls": [CALL, CALL]}]
    with pytest.raises(ChatTemplateError, match="leaves out the tool calls of message 1"):
        model.apply_chat_template(twice)
    beside = [*said("user"), {**calls, "content": "Let me see."}]
    with pytest.warns(ParameterWarning, match="the content beside the tool calls of message 1"):
        model.apply_chat_template(beside)


def test_thoughts_before_a_result_are_missed(tiny: ModelMaker) -> None:
    old = "{{ m.thinking if loop.last else '' }}{{ m.content }}"
    body = old + "{% for c in m.tool_calls %}{{ c.function.name }}{% endfor %}"
    model = tiny(chat_template="{% for m in messages %}" + body + "{% endfor %}")
    thought = {"role": "assistant", "content": "A", "thinking": "hm"}
    assert "hm" not in model.apply_chat_template([*said("user"), thought, *said("user")])
    call = {**thought, "content": "", "tool_calls": [CALL]}
    with pytest.warns(ParameterWarning, match="the thoughts beside the tool calls of message 1"):
        model.apply_chat_template([*said("user"), call, {"role": "tool", "content": "found"}])


def test_tools_arrive_or_that_is_said(tiny: ModelMaker, smollm2: Model) -> None:
    for model in (smollm2, tiny(chat_template=CHATML)):
        with pytest.warns(ParameterWarning, match="leaves out the tools, so that the model does"):
            model.apply_chat_template(said("user"), tools=TOOLS)
    reads = tiny(chat_template="{{ tools | tojson if tools else '' }}" + CHATML)
    assert "find" in reads.apply_chat_template(said("user"), tools=TOOLS)
    assert reads.apply_chat_template(said("user"), tools=[]) == reads.apply_chat_template(
        said("user")
    )
    spoken = "{% if messages[0].role == 'system' %}{{ tools | tojson }}{% endif %}" + CHATML
    only_there = tiny(chat_template=spoken)
    only_there.apply_chat_template(said("system", "user"), tools=TOOLS)
    with pytest.warns(ParameterWarning, match="leaves out the tools"):
        only_there.apply_chat_template(said("user"), tools=TOOLS)


def test_options_are_read_or_that_is_said(tiny: ModelMaker) -> None:
    model = tiny(chat_template=CHATML + "{% if enable_thinking %}<think>{% endif %}")
    assert model.apply_chat_template(said("user"), enable_thinking=True).endswith("<think>")
    model.apply_chat_template(said("user"), enable_thinking=False)
    with pytest.warns(
        ParameterWarning, match="option 'enable_thinkin': did you mean 'enable_thinking'"
    ):
        model.apply_chat_template(said("user"), enable_thinkin=True)


def test_tools_choose_the_template_that_is_made_for_them(tiny: ModelMaker) -> None:
    for_tools = "{% for t in tools %}{{ t.function.name }}{% endfor %}{{ messages[0].content }}"
    model = tiny(chat_template=CHATML, named_templates={"tool_use": for_tools, "rag": "R"})
    assert model.chat_templates == ("default", "rag", "tool_use")
    assert model.apply_chat_template(said("user"), tools=TOOLS) == "finduser says 0"
    assert "<|im_start|>" in model.apply_chat_template(said("user"))
    reads = "{{ tools | tojson if tools else '' }}" + CHATML
    model = tiny(chat_template=reads, named_templates={"tool_use": for_tools})
    assert "<|im_start|>" in model.apply_chat_template(said("user"), tools=TOOLS)
    alone = tiny(named_templates={"tool_use": for_tools})
    assert alone.chat_templates == ("tool_use",)
    assert alone.apply_chat_template(said("user"), tools=TOOLS) == "finduser says 0"
    with pytest.raises(ChatTemplateError, match="has no default chat template: choose one of"):
        alone.apply_chat_template(said("user"))
    prompt = alone.apply_chat_template(said("user"), chat_template="tool_use")
    assert prompt == "user says 0"
