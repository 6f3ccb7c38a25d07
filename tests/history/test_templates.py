"""Chats with templates of all families, written for these tests, each through one walk."""

from __future__ import annotations

from pathlib import Path

import pytest
from template_walk import walk_template

FOLDER = Path(__file__).parents[1] / "templates"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja"))

# Not even a question can be asked with these, and that is said in words.
REFUSED = {
    "broken_syntax",
    "hostile_changes_messages",
    "hostile_recursion",
    "hostile_repetition",
    "hostile_sandbox",
}
# These have to become right; each fails here once it is.
STILL_WRONG = {
    "alternates_strictly",
    "arguments_as_text",
    "arguments_by_key",
    "arguments_escaped",
    "chatml",
    "chatml_tools",
    "command_turns",
    "content_beside_calls",
    "counts_messages",
    "date_in_system",
    "default_system",
    "developer_first",
    "drops_calls",
    "drops_developer",
    "drops_every_system",
    "drops_later_system",
    "drops_thoughts",
    "field_reasoning",
    "field_thinking",
    "functions_defined",
    "gathers_results",
    "gemma_system_in_question",
    "gemma_without_system",
    "glm_thoughts",
    "gptoss_channels",
    "granite_roles",
    "kimi_middle",
    "lfm_keeps_last_thought",
    "llama3_ipython",
    "marks_last",
    "minimax_invoke",
    "mistral_last_question",
    "mistral_thoughts",
    "needs_parts",
    "needs_tool_name",
    "nemotron_no_think",
    "passes_over_parts",
    "phi_known_roles",
    "plain_words",
    "prefill_continued",
    "prefill_refused",
    "prints_parts",
    "qwen3_thoughts",
    "qwq_opens_thought",
    "r1_opens_thought",
    "says_question_twice",
    "seed_budget",
    "time_of_day",
    "tools_defined",
    "trims_contents",
    "uses_namespace_and_break",
    "v3_thinking_switch",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.xfail(strict=True)] if name in STILL_WRONG else [])
        for name in NAMES
    ],
)
def test_a_chat_is_the_same_wherever_it_is_shown(name: str, tmp_path: Path) -> None:
    source = (FOLDER / f"{name}.jinja").read_text("utf-8")
    outcome = walk_template(name, source, tmp_path)
    assert not outcome.wrong
    assert outcome.verdict == ("refused in words" if name in REFUSED else "right")


def test_each_template_says_what_it_is_for() -> None:
    for name in NAMES:
        assert (FOLDER / f"{name}.jinja").read_text("utf-8").startswith("{#- ")
    assert not (REFUSED | STILL_WRONG) - {*NAMES}
