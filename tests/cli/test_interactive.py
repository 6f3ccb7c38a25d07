"""Talking in a real terminal."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from cli_process import Run
from hang_guard import PATIENCE

from mullama_nb import Chat, Context, ContextParams, Model, inspect_session
from mullama_nb.cli.interactive import COMMANDS
from mullama_nb.testing import make_tiny_model

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


@pytest.mark.slow
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
        stdin="word " * 200 + "\n/resume\n/undo x\n/edit\n/tokens\n/help\n",
    )
    assert done.returncode == 0
    assert re.search(r"error: .* \d+ too many\. .*/trim drops .* /n-ctx CELLS", done.stderr)
    assert "trim()" not in done.stderr
    assert "there is no answer to continue" in done.stderr
    assert "'x' is not a number of steps" in done.stderr
    assert "usage: /edit <text>" in done.stderr
    assert "there is no answer here" in done.stderr
    assert "/checkout <ref>" in done.stdout


TINY = ("run", "./tiny.gguf", "--interactive", "--n-ctx", "256", "--threads", "1")
LIMITS = ("--max-tokens", "6", "--temperature", "1", "--seed", "3")


@pytest.fixture
def tiny(tmp_path: Path) -> Chat:
    """A chat on a model in the folder, made as the one of ``TINY`` and ``LIMITS``."""
    make_tiny_model(tmp_path / "tiny.gguf")
    context = ContextParams(n_ctx=256, n_threads=1, n_threads_batch=1)
    model = Model.load(tmp_path / "tiny.gguf")
    return Chat(Context(model, context), temperature=1, seed=3, max_tokens=6)


def test_tokens_are_shown_and_another_one_is_taken(run: Run, tiny: Chat) -> None:
    turn = tiny.ask("Name a colour.")
    other = next(each for each in turn.alternatives(2) if each.id != turn.tokens[2])
    quoted = shlex.quote(other.text)
    done = run(*TINY, *LIMITS, stdin=f"Name a colour.\n/tokens\n/tokens 2\n/fork 2 {quoted}\n")
    assert (done.returncode, done.stderr) == (0, "")
    forked = tiny.fork(turn, token=2, choose=other.text)
    lines = done.stdout.splitlines()
    shown = [line for line in lines if re.match(r" {4}\d ", line)]
    texts = [tiny.model.detokenize([token], special=True) for token in turn.tokens]
    assert [line.partition("%  ")[2] for line in shown] == [*map(repr, texts)]
    (mark,) = (line for line in lines if line.startswith("    *"))
    assert mark.endswith(repr(texts[2]))
    assert done.stdout.startswith(turn.text)
    assert done.stdout.rstrip("\n").endswith(forked.text.rstrip("\n"))  # from its beginning on


def test_several_answers_are_shown_and_one_is_gone_on_with(run: Run, tiny: Chat) -> None:
    asked = tiny.explore("Name a colour.", 3)
    more = tiny.explore(None, 2)
    first = more[0].checkpoint.short_id
    done = run(
        *TINY,
        *LIMITS,
        stdin=f"/explore 3 Name a colour.\n/explore 2\n/checkout {first}\n/explore x\n/explore 0\n",
    )
    assert done.returncode == 0
    shown = [line.partition("  ")[0] for line in done.stdout.splitlines()]
    assert shown[:5] == [turn.checkpoint.short_id for turn in [*asked, *more]]
    assert "/checkout ID goes on" in done.stderr
    assert "assistant: " in done.stderr
    assert len(shown) == 5 + 8  # what is no number is a question
    assert "'0' is not a number of answers" in done.stderr


@pytest.mark.usefixtures("tiny")
def test_room_is_made_and_a_context_grows(run: Run) -> None:
    questions = "".join(f"Question {i}\n" for i in range(4))
    done = run(*TINY, *LIMITS, stdin=f"{questions}/trim 1\n/trim 9\n/n-ctx 512\nAnother?\n/kv\n")
    assert done.returncode == 0
    assert re.search(r"\d+ tokens became free", done.stderr)
    assert "keep 9 must be 1 to 1" in done.stderr
    assert done.stdout.splitlines()[-1].split()[1:4] == ["of", "512", "tokens,"]


@pytest.mark.usefixtures("tiny")
def test_help_lists_each_command_in_a_line(run: Run) -> None:
    done = run(*TINY, stdin="/help\n")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [f"/{name}" for name in COMMANDS]
    assert all(len(line) <= 80 and line.endswith(".") for line in lines)


def test_what_cannot_be_typed_is_refused(run: Run, tmp_path: Path) -> None:
    for arguments, reason in (
        (("run", "smollm2", ""), "PROMPT is empty"),
        (("run", "smollm2", " \n", "--interactive"), "PROMPT is empty"),
        (("record", "a.json", "", "--model", "smollm2"), "empty"),
        (("run", "smollm2", "Hi", "--save-session", "no/a.session"), "there is no folder 'no'"),
        (("kv", "smollm2", "--plot", "no/a.svg"), "there is no folder 'no'"),
        (("record", "no/a.json", "Hi", "--model", "smollm2"), "there is no folder 'no'"),
        (("session", "export", "a", "no/a.session"), "there is no folder 'no'"),
        (
            ("suite", "compare", __file__, __file__, "--html", "no/a.html"),
            "there is no folder 'no'",
        ),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert reason in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "no").exists()
