"""Thoughts at the terminal: apart from the text, with a budget, and kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pexpect
import pytest
from cli_process import Run
from hang_guard import PATIENCE
from template_models import make_template_model

from mullama_nb import Chat

FOLDER = Path(__file__).parents[1] / "templates"
HOW = ("--temperature", "1.2", "--seed", "3", "--threads", "1", "--n-ctx", "1024")


@pytest.fixture(scope="module")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose prompts open a thought."""
    source = (FOLDER / "r1_opens_thought.jinja").read_text("utf-8")
    return make_template_model(tmp_path_factory.mktemp("model") / "thinks.gguf", source)


def chat_of(path: Path) -> Chat:
    return Chat(path, temperature=1.2, seed=3, n_ctx=1024, n_threads=1, n_threads_batch=1)


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0, 4])
def test_a_pipe_gets_the_text_alone(run: Run, thinking: Path, budget: int) -> None:
    given = ("--reasoning-budget", str(budget), "--max-tokens", "16")
    done = run("run", str(thinking), "Why?", *given, *HOW)
    turn = chat_of(thinking).ask("Why?", max_tokens=16, reasoning_budget=budget)
    assert (done.returncode, done.stdout) == (0, f"{turn.text}\n")
    assert done.stderr.strip() == (turn.reasoning or "").strip()
    assert bool(turn.reasoning) == bool(budget)
    told = json.loads(run("run", str(thinking), "Why?", *given, *HOW, "--json").stdout)
    assert (told["text"], told.get("reasoning")) == (turn.text, turn.reasoning)


@pytest.mark.slow
def test_a_conversation_keeps_and_goes_on_with_thoughts(run: Run, thinking: Path) -> None:
    lines = "Why?\n/resume\nAnd then?\n/kv\n/quit\n"
    given = ("--interactive", "--reasoning-budget", "6", "--max-tokens", "4", *HOW)
    done = run("run", str(thinking), *given, "--keep-reasoning", stdin=lines)
    chat = chat_of(thinking)
    limits = {"max_tokens": 4, "reasoning_budget": 6}
    first, second = chat.ask("Why?", **limits), chat.resume(**limits)
    assert not first.text
    assert second.text in done.stdout
    assert first.reasoning is not None
    assert first.reasoning in done.stderr
    assert "</think>" not in done.stdout + done.stderr
    n_tokens = int(done.stdout.rpartition(" of 1,024")[0].rpartition("\n")[2])
    dropped = run("run", str(thinking), *given, stdin=lines).stdout
    assert n_tokens > int(dropped.rpartition(" of 1,024")[0].rpartition("\n")[2])


@pytest.mark.slow
def test_a_terminal_shows_thoughts_dim(
    thinking: Path, tmp_path: Path, home: dict[str, str]
) -> None:
    arguments = ["-m", "mullama_nb", "run", str(thinking), "Why?", "--reasoning-budget", "4"]
    child = pexpect.spawn(
        *(sys.executable, [*arguments, "--max-tokens", "16", *HOW]),
        cwd=str(tmp_path),
        env=home,
        encoding="utf-8",
        timeout=PATIENCE - 60,
    )
    child.expect(pexpect.EOF)
    assert child.wait() == 0
    turn = chat_of(thinking).ask("Why?", max_tokens=16, reasoning_budget=4)
    assert turn.reasoning is not None
    shown = str(child.before).replace("\r\n", "\n")
    assert shown.startswith("\x1b[2m")
    assert shown.rpartition("\x1b[0m")[2].lstrip("\n") == f"{turn.text}\n"
    plain = shown.replace("\x1b[0m", "").replace("\x1b[2m", "")
    assert plain == f"{turn.reasoning}\n{turn.text}\n"
