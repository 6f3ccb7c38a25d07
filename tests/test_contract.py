"""What the documentation of sessions promises, done with the public names alone.

The documentation's own examples run as well, where a copy of it lies beside the project.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from llama_cpp import LLAMA_STATE_SEQ_MAGIC, LLAMA_STATE_SEQ_VERSION
from tiny_models import CHATML

from mullama_nb import (
    Context,
    ContextParams,
    Model,
    SessionError,
    SessionManager,
    inspect_session,
    kv_bytes_per_token,
    predict_session_bytes,
)

N_CTX = 4096
RULES = "Ada keeps bees. Every morning, before the sun is up, she walks to the hives"

Messages = list[dict[str, str]]


def new_context(model: Model, **changes: Any) -> Context:
    return Context(model, ContextParams(n_ctx=N_CTX, **changes))


@pytest.fixture
def prepared(smollm2: Model, tmp_path: Path) -> Path:
    """A session in which nothing but a system prompt was evaluated."""
    path = tmp_path / "prepared.session"
    with new_context(smollm2) as context:
        context.generate(RULES, max_tokens=0)
        context.save_session(str(path))
    return path


# -- saving and restoring ------------------------------------------------------------------------


def test_no_tokens_means_that_the_prompt_is_evaluated_alone(smollm2: Model) -> None:
    with new_context(smollm2) as context:
        assert context.generate(RULES, max_tokens=0) == ""
        assert context.token_count() == len(smollm2.tokenize(RULES, add_bos=True))
        assert context.text() == RULES


def test_a_session_file_says_what_is_in_it(smollm2: Model, prepared: Path) -> None:
    info = inspect_session(prepared)
    assert info.n_tokens == len(smollm2.tokenize(RULES, add_bos=True))
    assert info.n_bytes == prepared.stat().st_size
    header = np.fromfile(prepared, "<u4", 3).tolist()
    assert header == [LLAMA_STATE_SEQ_MAGIC, LLAMA_STATE_SEQ_VERSION, info.n_tokens]


def test_a_restored_context_goes_on_as_if_nothing_had_happened(
    smollm2: Model, tmp_path: Path
) -> None:
    with new_context(smollm2) as context, new_context(smollm2) as restored:
        context.generate(RULES, max_tokens=0)
        context.save_session(tmp_path / "a.session")
        restored.load_session(tmp_path / "a.session")
        assert f"{restored.token_count()} tokens" == f"{context.token_count()} tokens"
        answers = [c.generate(" with", max_tokens=32) for c in (context, restored)]
        assert answers[0] == answers[1] != ""
        assert restored.text().startswith(RULES + " with" + answers[1])
        assert restored.tokens == context.tokens
        np.testing.assert_array_equal(restored.logits, context.logits)


# -- a prompt that many share --------------------------------------------------------------------


def test_a_prepared_prompt_serves_everybody_and_is_never_evaluated_again(
    smollm2: Model, prepared: Path
) -> None:
    before = prepared.read_bytes()
    answers = {}
    for following in (" with her old dog and", " because", " with her old dog and"):
        with new_context(smollm2) as context:
            context.load_session(prepared)
            answer = context.generate(following, max_tokens=16)
            assert isinstance(answer, str)
            assert answer.reused == inspect_session(prepared).n_tokens
            assert answer.evaluated == len(smollm2.tokenize(following))
            assert answers.setdefault(following, answer) == answer
    assert len(set(answers.values())) == 2
    assert prepared.read_bytes() == before


# -- checkpoints of a conversation ---------------------------------------------------------------


class Conversation:
    """Saves a checkpoint when every second message has been given, before it is answered."""

    def __init__(self, context: Context, folder: Path, **sampling: Any) -> None:
        self.context, self.folder, self.sampling = context, folder, sampling
        self.messages: Messages = []
        self.n_turns = 0
        self.reused = 0

    def checkpoint(self, turn: int) -> Path:
        return self.folder / f"turn-{turn}.session"

    def say(self, text: str) -> str:
        self.messages.append({"role": "user", "content": text})
        self.n_turns += 1
        if self.n_turns % 2 == 0:
            self.context.save_session(self.checkpoint(self.n_turns))
        prompt = self.context.model.apply_chat_template(self.messages)
        answer = self.context.generate(prompt, max_tokens=24, **self.sampling)
        self.reused = answer.reused
        assert self.context.text().startswith(prompt), "the context is what the messages say"
        self.messages.append({"role": "assistant", "content": str(answer)})
        return answer

    def revert_to_turn(self, turn: int) -> None:
        self.context.load_session(self.checkpoint(turn))
        del self.messages[turn * 2 :]
        self.n_turns = turn


def test_reverting_goes_on_from_that_turn_without_what_came_later(
    smollm2: Model, tmp_path: Path
) -> None:
    said = ["Name a tree.", "And another.", "Which is taller?", "Which is older?", "Name a bird."]
    folder = tmp_path / "checkpoints"  # made when the first one is saved
    with new_context(smollm2) as context:
        conversation = Conversation(context, folder)
        for text in said:
            conversation.say(text)
        assert sorted(path.name for path in folder.iterdir()) == [
            "turn-2.session",
            "turn-4.session",
        ]
        kept = conversation.messages[:8]

        conversation.revert_to_turn(4)
        at_turn_4 = context.token_count()
        assert at_turn_4 == inspect_session(conversation.checkpoint(4)).n_tokens
        assert "Name a bird" not in context.text()
        assert conversation.messages == kept

        answer = conversation.say("Name a flower.")
        assert conversation.messages[:8] == kept
        assert [m["content"] for m in conversation.messages[-2:]] == ["Name a flower.", answer]
        assert "Name a bird" not in context.text()
        assert conversation.reused >= at_turn_4, "what the checkpoint holds is not evaluated again"

        # The file leads a new context to the same answer, to the bit.
        with new_context(smollm2) as other:
            other.load_session(conversation.checkpoint(4))
            again = other.generate(messages=conversation.messages[:-1], max_tokens=24)
            assert (again, other.tokens) == (answer, context.tokens)
            np.testing.assert_array_equal(other.logits, context.logits)


def test_going_on_without_reverting_evaluates_only_what_is_new(
    smollm2: Model, tmp_path: Path
) -> None:
    with new_context(smollm2) as context:
        conversation = Conversation(context, tmp_path)
        for text in ("Name a tree.", "And another.", "Which is taller?"):
            held = context.token_count()
            conversation.say(text)
            assert conversation.reused >= held - 1


# -- many sessions -------------------------------------------------------------------------------


def test_sessions_under_names_are_made_once_and_go_on(smollm2: Model, tmp_path: Path) -> None:
    manager = SessionManager(smollm2, tmp_path / "sessions")
    with manager.load_or_create("ada", RULES) as ada:
        assert ada.text() == RULES
        ada.generate(" with", max_tokens=8)
        manager.save("ada", ada)
        held, logits = ada.tokens, ada.logits
    with manager.load_or_create("ben", "Something else.") as ben:
        assert ben.text() == "Something else."
    with manager.load_or_create("ada", RULES) as ada:  # loaded as it was left, not evaluated
        assert ada.tokens == held
        np.testing.assert_array_equal(ada.logits, logits)
    with manager.create_session("ada", "From the beginning.") as ada:
        assert ada.text() == "From the beginning."


# -- compatibility and memory --------------------------------------------------------------------


def test_a_session_of_another_model_is_refused(tiny: ModelMaker, prepared: Path) -> None:
    with Context(tiny(), ContextParams(n_ctx=512, n_threads=1)) as context:
        context.evaluate("Hello")
        tokens, logits = context.tokens, context.logits
        with pytest.raises(SessionError):
            context.load_session(prepared)
        assert context.tokens == tokens
        np.testing.assert_array_equal(context.logits, logits)


def test_quantised_caches_make_smaller_files(smollm2: Model, tmp_path: Path) -> None:
    sizes = {}
    for kv_cache_type in ("f16", "q8_0", "q4_0"):
        with new_context(smollm2, kv_cache_type=kv_cache_type) as context:
            context.generate(RULES * 3, max_tokens=0)
            info = context.save_session(tmp_path / kv_cache_type, include_logits=False)
            sizes[kv_cache_type] = info.n_bytes
    # Blocks of 32 values and a scale: 34 and 18 bytes in place of 64.
    assert sizes["q8_0"] / sizes["f16"] == pytest.approx(34 / 64, abs=0.01)
    assert sizes["q4_0"] / sizes["f16"] == pytest.approx(18 / 64, abs=0.01)


def test_files_grow_with_their_tokens(smollm2: Model) -> None:
    per_token = kv_bytes_per_token(smollm2)
    sizes = [predict_session_bytes(smollm2, n_tokens) for n_tokens in (2048, 4096, 8192)]
    assert all(size > n * per_token for size, n in zip(sizes, (2048, 4096, 8192), strict=True))
    assert (sizes[1] - sizes[0]) * 2 == sizes[2] - sizes[1]


# -- the documentation's own examples ------------------------------------------------------------

SEED = Path(__file__).parents[2] / "shared" / "seed"
SECTION = re.compile(r"^##+ (.+)$", re.MULTILINE)
EXAMPLE = re.compile(r'^=== "Python"\n+    ```python\n(.*?)^    ```$', re.DOTALL | re.MULTILINE)
SECTIONS = [
    "Saving Session State",
    "Restoring Session State",
    "Pre-Computed System Prompts",
    "Conversation Checkpoints",
    "Managing Multiple Sessions",
    "Memory Considerations",
]


def documented(model: Path) -> Iterator[tuple[str, str]]:
    """Return each section's title and its example, with our import and a model that exists."""
    (page,) = SEED.glob("000_*.txt")
    _, *parts = SECTION.split(page.read_text(encoding="utf-8"))
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        for example in EXAMPLE.findall(text):
            code = re.sub(r"^    ", "", example, flags=re.MULTILINE)
            code = code.replace("from mullama import", "from mullama_nb import")
            yield title, code.replace("./model.gguf", str(model))


@pytest.mark.skipif(not SEED.is_dir(), reason="the documentation is not here")
def test_the_documentations_examples(
    tiny: ModelMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tiny(head_dim=32, n_ctx=4096, chat_template=CHATML, ends=True)
    examples = dict(documented(model.path))
    assert list(examples) == SECTIONS
    names: dict[str, Any] = {"__name__": "__main__"}

    def run(section: str) -> str:
        exec(compile(examples[section], section, "exec"), names)
        return capsys.readouterr().out

    assert run("Saving Session State") == "Session saved\n"
    saved = names["context"].tokens
    assert inspect_session("session.bin").n_tokens == len(saved)

    printed = run("Restoring Session State")
    assert printed == f"Restored {len(saved)} tokens of context\n{names['response']}\n"
    assert names["context"].tokens[: len(saved)] == saved
    assert names["response"].reused == len(saved)

    # The one-time setup is defined, and left to the reader to call.
    setup, requests = examples["Pre-Computed System Prompts"].split("# Per-request", 1)
    examples["Pre-Computed System Prompts"] = f"{setup}create_system_session()\n# {requests}"
    assert run("Pre-Computed System Prompts") == f"{names['response']}\n"
    assert names["response"].reused == inspect_session("python-expert.session").n_tokens
    assert names["handle_user_query"]("Write a function to parse CSV files.") == names["response"]

    run("Conversation Checkpoints")
    chat, messages, context = names["chat"], names["messages"], names["context"]
    for turn in range(1, 8):
        if turn == 5:
            held, logits = context.tokens, context.logits
        assert chat(f"Say {turn} and no more.") == messages[-1]["content"]
        assert len(messages) == 2 * turn
        assert context.text().startswith(model.apply_chat_template(messages[:-1]))
    assert [path.name for path in Path("checkpoints").iterdir()] == ["turn-5.session"]
    kept = messages[:10]
    names["revert_to_turn"](5)
    assert messages == kept
    assert context.tokens == held
    np.testing.assert_array_equal(context.logits, logits)
    answer = chat("Say eight.")
    assert messages == [
        *kept,
        {"role": "user", "content": "Say eight."},
        {"role": "assistant", "content": answer},
    ]
    assert context.text().startswith(model.apply_chat_template(messages[:-1]))
    assert "Say 6" not in context.text()

    run("Managing Multiple Sessions")
    manager = names["SessionManager"](model)
    with manager.create_session("ada", "Be brief.") as ada:
        assert manager.session_path("ada") == Path("sessions/ada.session")
        ada.generate("Hello", max_tokens=4)
        manager.save("ada", ada)
        held = ada.tokens
    with manager.load_or_create("ada", "Be long.") as ada, manager.load_or_create("ben", "Hm") as b:
        assert ada.tokens == held
        assert b.text() == "Hm"

    compact = tmp_path / "compact-session.bin"
    context.clear()
    context.generate("A long story. " * 60, max_tokens=0)
    plain = context.save_session(tmp_path / "plain.bin", include_logits=False).n_bytes
    context.close()
    run("Memory Considerations")
    names["context"].generate("A long story. " * 60, max_tokens=0)
    assert names["context"].save_session(compact, include_logits=False).n_bytes < 0.6 * plain
    names["context"].close()
