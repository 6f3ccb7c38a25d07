"""The magics lead a chat in a real IPython, and a cell that is run again gets a sibling."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hang_guard import PATIENCE
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from kernel_sockets import AsyncKernelManager
from nbclient import NotebookClient
from shells import open_shell
from tiny_models import CHATML, make_model

from mullama_nb import Chat

N = "max_tokens=3 temperature=2.0"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[InteractiveShell]:
    """A shell of its own, with a tiny model under the name that ``path`` has there."""
    with open_shell(tmp_path) as shell:
        shell.user_ns["path"] = make_model(tmp_path / "tiny.gguf", "llama", chat_template=CHATML)
        run(shell, "%load_ext mullama_nb")
        yield shell


def run(shell: InteractiveShell, source: str, cell_id: str | None = None) -> Any:
    """Run a cell; its value."""
    result = shell.run_cell(source, cell_id=cell_id)
    result.raise_error()
    return result.result


def begin(shell: InteractiveShell) -> Chat:
    chat: Chat = run(shell, "%model {path} n_ctx=512 n_threads=1 seed=1")
    return chat


def test_a_model_becomes_the_chat(shell: InteractiveShell) -> None:
    chat = run(shell, "%model {path} n_ctx=128 n_threads=1 system='Be brief, please.'")
    assert shell.user_ns["chat"] is chat
    assert chat.context.n_ctx == 128
    assert chat.system == "Be brief, please."


def test_another_name_can_be_used(shell: InteractiveShell) -> None:
    run(shell, '%config MullamaMagics.chat = "other"')
    begin(shell)
    assert isinstance(shell.user_ns["other"], Chat)
    assert "chat" not in shell.user_ns


def test_the_same_cell_again_gives_a_sibling(shell: InteractiveShell) -> None:
    chat = begin(shell)
    first = run(shell, f"%%ask {N}\nhello", "a")
    second = run(shell, f"%%ask {N}\nhello", "a")
    assert second.checkpoint.siblings == (first.checkpoint, second.checkpoint)
    assert [turn.text for turn in chat.turns][:1] == ["hello"]
    assert len(chat.turns) == 2


def test_a_changed_cell_gives_a_sibling_of_the_question(shell: InteractiveShell) -> None:
    chat = begin(shell)
    run(shell, f"%%ask {N}\nhello", "a")
    run(shell, f"%%ask {N}\ngood day", "a")
    question, _ = chat.turns
    assert question.text == "good day"
    assert len(question.checkpoint.siblings) == 2


def test_cells_below_follow_one_that_was_run_again(shell: InteractiveShell) -> None:
    chat = begin(shell)
    for _ in range(2):  # as "run all cells" does it
        run(shell, f"%%ask {N}\nhello", "a")
        run(shell, f"%%ask {N}\nand then?", "b")
    assert [turn.text for turn in chat.turns if turn.role == "user"] == ["hello", "and then?"]
    _, answer, question, _ = chat.turns
    assert len(answer.checkpoint.siblings) == 2
    assert question.checkpoint.siblings == (question.checkpoint,)


def test_after_undo_the_same_cell_gives_a_sibling(shell: InteractiveShell) -> None:
    begin(shell)
    first = run(shell, f"%%ask {N}\nhello", "a")
    run(shell, "%undo")
    second = run(shell, f"%%ask {N}\nhello", "a")
    assert second.checkpoint.siblings == (first.checkpoint, second.checkpoint)


def test_append_says_it_once_more(shell: InteractiveShell) -> None:
    chat = begin(shell)
    run(shell, f"%%ask {N}\nhello", "a")
    run(shell, f"%%ask --append {N}\nhello", "a")
    assert [turn.role for turn in chat.turns if turn.text == "hello"] == ["user", "user"]


def test_a_pruned_answer_is_forgotten(shell: InteractiveShell) -> None:
    chat = begin(shell)
    run(shell, f"%%ask {N}\nhello", "a")
    run(shell, "%undo")
    chat.tree.prune(chat.tree.root.children[0], force=True)
    run(shell, f"%%ask {N}\nhello", "a")
    assert len(chat.tree) == 2


def test_a_new_chat_knows_no_cell(shell: InteractiveShell) -> None:
    begin(shell)
    run(shell, f"%%ask {N}\nhello", "a")
    chat = begin(shell)
    run(shell, f"%%ask {N}\nhello", "a")
    assert len(chat.tree) == 2


def test_without_ids_the_last_question_is_known_by_its_text(shell: InteractiveShell) -> None:
    chat = begin(shell)
    run(shell, f"%%ask {N}\nhello")
    run(shell, f"%%ask {N}\nhello")
    assert len(chat.turns) == 2
    run(shell, f"%%ask {N}\nand then?")
    run(shell, f"%%ask {N}\nhello")
    assert [t.text for t in chat.turns if t.role == "user"] == ["hello", "and then?", "hello"]


def test_moving_and_tags(shell: InteractiveShell) -> None:
    chat = begin(shell)
    one = run(shell, f"%%ask {N}\none", "a").checkpoint
    two = run(shell, f"%%ask {N}\ntwo", "b").checkpoint
    assert run(shell, "%tag end") is two
    assert run(shell, f"%tag start {one.short_id}") is one
    assert run(shell, "%undo").checkpoint is one
    run(shell, "%redo")
    assert chat.head is two
    run(shell, "%undo 2")
    assert chat.turns == []
    assert run(shell, "%checkout end").checkpoint is two


def test_looking(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    chat = begin(shell)
    run(shell, f"%%ask {N}\nhello", "a")
    capsys.readouterr()
    run(shell, "%tree")
    assert capsys.readouterr().out.rstrip() == str(chat.tree)
    assert run(shell, "%kv") == chat.tree.kv_bytes()


def test_sessions(
    shell: InteractiveShell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = begin(shell)
    run(shell, f"%%ask {N}\nhello", "a")
    folder = f"--folder {tmp_path / 'kept'}"
    run(shell, f"%session list {folder}")
    assert "Nothing is saved" in capsys.readouterr().out
    run(shell, f"%session save lesson {folder}")
    run(shell, f"%session list {folder}")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split()[:2] == ["lesson", "chat"]
    opened = run(shell, f"%session load lesson {folder}")
    assert opened is shell.user_ns["chat"]
    assert opened is not chat
    assert opened.messages == chat.messages


def test_a_session_is_loaded_with_the_model_that_is_there(
    shell: InteractiveShell, tmp_path: Path
) -> None:
    chat = begin(shell)
    run(shell, f"%%ask {N}\nhello", "a")
    run(shell, "%session save lesson")
    (tmp_path / "tiny.gguf").rename(tmp_path / "moved.gguf")  # it is open, and needed no more
    assert run(shell, "%session load lesson").model is chat.model


def test_a_session_of_another_model_is_loaded_with_its_own(
    shell: InteractiveShell, tmp_path: Path
) -> None:
    chat = begin(shell)
    run(shell, f"%%ask {N}\nhello", "a")
    run(shell, "%session save lesson")
    other = make_model(tmp_path / "other.gguf", "llama", chat_template=CHATML, seed=9)
    shell.user_ns["path"] = other
    assert run(shell, "%model {path} n_ctx=64 n_threads=1").model.fingerprint != (
        chat.model.fingerprint
    )
    assert run(shell, "%session load lesson").model.fingerprint == chat.model.fingerprint


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%undo", "there is no 'chat' yet"),
        ("%model nowhere.gguf", "nowhere.gguf"),
        ("%model {path} n_cxt=1", "did you mean 'n_ctx'"),
        ("%model {path} n_ctx=-1", "n_ctx=-1"),
        ("%model {path} brief", "options look like"),
        ("%model {path} --n_ctx 512", "'--n_ctx' is not known here; options look like"),
        ("%session list a b", "'b' is not known here\n"),
        ("%model 'open", "cannot be read"),
        ("%session", "required"),
        ("%session load", "needs a name"),
        ("%session load never_saved", "never_saved"),
        ("%%ask\nhello", "there is no 'chat' yet"),
    ],
    ids=[
        *("no chat", "no model", "misspelt", "out of range", "no option", "dashes", "too many"),
        *("open quote", "no action", "no name", "not saved", "nobody to ask"),
    ],
)
def test_errors_are_said_in_words(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    shell.run_cell(line)
    captured = capsys.readouterr()
    assert "UsageError" in captured.err
    assert says in captured.err
    assert "Traceback" not in captured.out + captured.err


def test_refs_that_mean_nothing(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(shell)
    shell.run_cell("%checkout snow")
    assert "snow" in capsys.readouterr().err
    shell.run_cell("%%ask\n\n")
    assert "has no message" in capsys.readouterr().err
    shell.user_ns["chat"] = 3
    shell.run_cell("%kv")
    assert "is of type int, not Chat" in capsys.readouterr().err


def completions(shell: InteractiveShell, line: str) -> list[str]:
    with provisionalcompleter():
        return [found.text for found in shell.Completer.completions(line, len(line))]


@pytest.mark.slow
def test_completions(shell: InteractiveShell, tmp_path: Path) -> None:
    assert completions(shell, "%session l") == ["load", "list"]
    assert "smollm2" in completions(shell, "%model smol")
    assert completions(shell, "%model smollm2 n_ct") == ["n_ctx="]
    assert completions(shell, "%%ask --app") == ["--append"]
    chat = begin(shell)
    run(shell, f"%%ask {N}\nhello", "a")
    chat.tag("snow")
    assert completions(shell, "%checkout sn") == ["snow"]
    assert completions(shell, "%tag other sn") == ["snow"]
    chat.save("a-winter")
    assert completions(shell, "%session load a-w") == ["a-winter"]
    chat.save("a-wave", tmp_path)
    assert completions(shell, f"%session load --folder {tmp_path} a-w") == ["a-wave"]
    assert "--folder" in completions(shell, "%session save --f")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model", "undo", "tag", "session", "checkout"])
def test_help_names_the_arguments(shell: InteractiveShell, name: str) -> None:
    text = shell.object_inspect_text(f"%{name}")
    assert "positional arguments" in text


@pytest.mark.slow
def test_a_kernel_runs_the_magics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    make_model(tmp_path / "tiny.gguf", "llama", chat_template=CHATML)
    kernel = tmp_path / "kernels" / "here" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": argv, "display_name": "here", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    cells = [
        "%load_ext mullama_nb\n%model ./tiny.gguf n_ctx=256 n_threads=1 seed=1\nchat.context.n_ctx",
        f"%%ask {N}\nhello",
        f"%%ask {N}\nhello",
        "%tree",
        "len(chat.turns), len(chat.tree)",
        "%checkout snow",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    client = NotebookClient(
        notebook,
        kernel_name="here",
        kernel_manager_class=AsyncKernelManager,
        allow_errors=True,
        startup_timeout=PATIENCE,
        iopub_timeout=PATIENCE,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    outputs = [cell["outputs"] for cell in notebook.cells]
    assert outputs[0][-1]["data"]["text/plain"] == "256"
    assert outputs[1][-1]["data"]["text/plain"] == "Turn(assistant, 3 tokens, length)"
    assert "root" in outputs[3][0]["data"]["text/html"]
    assert outputs[4][0]["data"]["text/plain"] == "(2, 3)"
    assert [output["output_type"] for output in outputs[5]] == ["stream"]
    assert outputs[5][0]["text"].startswith("UsageError")
