"""Talking in a real terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from cli_process import Run
from hang_guard import PATIENCE

from mullama_nb import inspect_session

Terminal = Callable[..., "pexpect.spawn[str]"]
PROMPT = r"\[0m>"  # as the terminal gets it


@pytest.fixture
def terminal(tmp_path: Path, home: dict[str, str]) -> Iterator[Terminal]:
    """Start a conversation in a terminal of its own."""
    children: list[pexpect.spawn[str]] = []

    def start(*arguments: str) -> pexpect.spawn[str]:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "mullama_nb", "run", "smollm2", "--interactive", *arguments],
            cwd=str(tmp_path),
            env=home,
            encoding="utf-8",
            timeout=PATIENCE - 60,  # so that it says what it waited for
            dimensions=(40, 100),
        )
        children.append(child)
        child.expect(PROMPT)
        return child

    yield start
    for child in children:
        child.ptyproc.delayafterclose = child.ptyproc.delayafterterminate = 1
        child.kill(signal.SIGKILL)
        child.close()


@pytest.mark.slow
def test_a_conversation_with_undo_and_a_session(terminal: Terminal, tmp_path: Path) -> None:
    child = terminal("--max-tokens", "5", "--save-session", "./session.bin")
    child.sendline("Name a colour.")
    child.expect(PROMPT)
    child.sendline("/undo")
    child.expect("at the beginning")
    child.sendline("/redo")
    child.expect("assistant: ")
    child.sendline("/regenerate")
    child.sendline("/tree")
    child.expect(r"├─")
    child.sendline("/tag first")
    child.expect("first is ")
    child.sendline("/checkout nosuch")
    child.expect("error: no checkpoint is called 'nosuch'")
    child.sendline("/nosuch")
    child.expect("there is no /nosuch")
    child.expect(PROMPT)
    child.sendeof()
    child.expect(pexpect.EOF)
    assert child.wait() == 0
    assert inspect_session(tmp_path / "session.bin").n_tokens > 10


@pytest.mark.slow
def test_an_interrupt_stops_the_answer_and_not_the_program(terminal: Terminal) -> None:
    child = terminal("--max-tokens", "3000")
    child.sendline("Tell a very long story.")
    child.expect(r"(\w+,? ){8}")  # more words than were typed
    child.sendintr()
    child.expect("stopped; /resume goes on")
    child.sendline("/kv")
    child.expect("tokens, ")
    child.sendline("/quit")
    child.expect(pexpect.EOF)
    assert child.wait() == 0


def test_commands_complete(terminal: Terminal) -> None:
    child = terminal()
    child.send("/regen\t")
    child.expect("regenerate")


@pytest.mark.slow
def test_checkpoints_come_every_so_many_turns(run: Run, tmp_path: Path) -> None:
    done = run(
        *("run", "smollm2", "--interactive", "--max-tokens", "2"),
        *("--checkpoint-dir", "./checkpoints", "--checkpoint-interval", "2"),
        stdin="one\ntwo\nthree\nfour\n",
    )
    assert done.returncode == 0, done.stderr
    files = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert files == ["turn-2.session", "turn-4.session"]


def test_what_went_wrong_is_said_and_the_conversation_goes_on(run: Run) -> None:
    done = run(
        *("run", "smollm2", "--interactive", "--n-ctx", "64", "--max-tokens", "2"),
        stdin="word " * 200 + "\n/resume\n/undo x\n/edit\n/help\n",
    )
    assert done.returncode == 0
    assert "are missing" in done.stderr
    assert "there is no answer to continue" in done.stderr
    assert "'x' is not a number of steps" in done.stderr
    assert "usage: /edit <text>" in done.stderr
    assert "/checkout <ref>" in done.stdout
