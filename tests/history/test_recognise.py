"""Messages are read back out of what a chat template rendered."""

from __future__ import annotations

import pytest

from mullama_nb import Model
from mullama_nb.history.recognise import recognise_messages

SYSTEM = {"role": "system", "content": "Be brief."}
ASKED = {"role": "user", "content": "Why?\nAnd how?"}
ANSWER = {"role": "assistant", "content": "Because."}


@pytest.mark.parametrize(
    "messages",
    [[SYSTEM], [SYSTEM, ASKED], [SYSTEM, ASKED, ANSWER], [SYSTEM, ASKED, ANSWER, ASKED, ANSWER]],
)
def test_messages_come_back(smollm2: Model, messages: list[dict[str, str]]) -> None:
    asks = messages[-1]["role"] == "user"
    text = smollm2.apply_chat_template(messages, add_generation_prompt=asks)
    assert recognise_messages(smollm2, str(text)) == messages


def test_an_answer_may_lack_its_end(smollm2: Model) -> None:
    text = str(smollm2.apply_chat_template([SYSTEM, ASKED])) + "Because."
    assert recognise_messages(smollm2, text) == [SYSTEM, ASKED, ANSWER]


@pytest.mark.parametrize("text", ["", "The capital of France is", "<|im_start|>", "user\nHi"])
def test_other_texts_are_no_conversation(smollm2: Model, text: str) -> None:
    assert recognise_messages(smollm2, text) is None
