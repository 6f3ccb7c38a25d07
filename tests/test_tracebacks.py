"""What IPython shows of our errors and of an interrupt; outside of it nothing changes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hang_guard import PATIENCE
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from kernel_sockets import AsyncKernelManager
from nbclient import NotebookClient
from shells import open_shell
from tiny_models import CHATML, make_model

from mullama_nb import MullamaError
from mullama_nb.errors import ParameterError

BEGIN = """
import mullama_nb
from mullama_nb import Chat, Context, Model, SessionManager
chat = Chat(path, n_ctx=256, n_threads=1, seed=1)
"""
# Each fails at another depth: at once, in the tree, the store, a file, a template, a callback.
FAILING = [
    "chat.checkout('nowhere')",
    "chat.ask('Why? ' * 900)",
    "chat.ask('Why?', temperature=-1)",
    "chat.ask('Why?', json_schema={'type': 7})",
    "chat.ask('Why?', max_tokens=3, on_token=lambda token: chat.undo())",
    "chat.load_session('nothing.session')",
    "chat.tree.commit(what=object())",
    "chat.save('../up')",
    "chat.edit('What?', 'HEAD~9')",
    "Chat(chat.model, chat_template='{% broken')",
    "Chat(chat.model, 3)",
    "Model.load('no-such-model')",
    "Chat(chat.model, n_ctx=-1)",
]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    """A shell with a chat."""
    folder = tmp_path_factory.mktemp("shell")
    with open_shell(folder, is_the_one=True) as shell:
        shell.user_ns["path"] = make_model(folder / "tiny.gguf", "llama", chat_template=CHATML)
        shell.run_cell(BEGIN).raise_error()
        yield shell


def shown(shell: InteractiveShell, cell: str) -> tuple[str, Any]:
    """What a failing cell prints, and its error."""
    with capture_output() as captured:
        result = shell.run_cell(cell)
    return captured.stdout + captured.stderr, result.error_in_exec


@pytest.mark.slow
@pytest.mark.parametrize("cell", FAILING)
def test_an_error_shows_the_cell_and_no_inner_frame(shell: InteractiveShell, cell: str) -> None:
    text, error = shown(shell, cell)
    assert isinstance(error, MullamaError)
    assert cell in text
    assert str(error).splitlines()[-1] in text
    assert not re.search(r"mullama_nb[/\\]|site-packages|During handling|direct cause", text)
    assert len(text.splitlines()) <= 14 + len(str(error).splitlines())


def test_functions_and_callbacks_of_the_user_are_shown(shell: InteractiveShell) -> None:
    text, _ = shown(
        shell,
        "def mine(token):\n    chat.undo()\n\n"
        "def asks():\n    return chat.ask('Why?', max_tokens=3, on_token=mine)\n\nasks()",
    )
    for line in ("asks()", "return chat.ask(", "    chat.undo()"):
        assert line in text
    assert "mullama_nb/" not in text


def test_what_the_user_caught_is_shown(shell: InteractiveShell) -> None:
    text, _ = shown(shell, "try:\n    {}['key']\nexcept KeyError:\n    chat.checkout('nowhere')")
    assert "KeyError" in text
    assert "RefError" in text
    assert "mullama_nb/" not in text


def test_the_whole_is_a_setting_away(shell: InteractiveShell) -> None:
    cell = FAILING[0]
    _, error = shown(shell, cell)
    context, cause = error.__context__, error.__cause__
    try:
        text, _ = shown(shell, f"%xmode Verbose\n{cell}")
        assert "mullama_nb/history" in text.replace("\\", "/")
    finally:
        shell.run_line_magic("xmode", "Context")
    error._render_traceback_()
    assert (error.__context__, error.__cause__) == (context, cause)


@pytest.mark.slow
def test_plain_python_shows_all() -> None:
    try:
        raise ParameterError("no") from KeyError("k")
    except ParameterError as error:
        whole = traceback.format_exception(error)
        assert any("KeyError" in line for line in whole)
    source = "from mullama_nb import Model; Model.load('no-such-model')"
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False
    )
    assert "mullama_nb" in done.stderr
    assert "Traceback (most recent call last)" in done.stderr


ASKS = """
import os, signal
def stops(token):
    global n
    n += 1
    if n == 5:
        os.kill(os.getpid(), signal.SIGINT)
n = 0
chat.ask('Why?', max_tokens=200, on_token=stops)
"""


def test_an_interrupt_is_one_line_and_a_partial_answer(shell: InteractiveShell) -> None:
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        text, error = shown(shell, ASKS)
        assert type(error) is KeyboardInterrupt
        chat = shell.user_ns["chat"]
        n = len(chat.head.tokens)
        assert chat.head.metadata.finish_reason == "stopped"
        assert text.splitlines()[-1] == (
            f"Interrupted: {n} tokens of the answer are kept, and resume() goes on with it"
        )
        assert "Traceback" not in text
        shell.run_cell("n = 9; turn = chat.resume(max_tokens=3)").raise_error()
        text, _ = shown(shell, f"%xmode Verbose\n{ASKS}")
        assert "stops" in text
    finally:
        shell.run_line_magic("xmode", "Context")
        signal.signal(signal.SIGINT, previous)


@pytest.mark.slow
def test_in_a_kernel(tmp_path: Path) -> None:
    """What a notebook keeps of an interrupt and an error, through the real kernel."""
    path = make_model(tmp_path / "tiny.gguf", "llama", chat_template=CHATML)
    cells = [f"path = {str(path)!r}\n{BEGIN}", ASKS, FAILING[0]]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(
        notebook, timeout=PATIENCE, allow_errors=True, kernel_manager_class=AsyncKernelManager
    ).execute()
    interrupted, failed = (cell.outputs[-1] for cell in notebook.cells[1:])
    assert interrupted.ename == "KeyboardInterrupt"
    assert len(interrupted.traceback) == 1
    assert interrupted.traceback[0].startswith("Interrupted: ")
    assert "mullama_nb/" not in "\n".join(failed.traceback)
    assert "nowhere" in failed.traceback[-1]
