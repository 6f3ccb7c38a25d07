"""Tab inside of strings, through IPython's own completer, with jedi and without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from shells import open_shell
from tiny_models import CHATML, make_model

BEGIN = """
%load_ext mullama_nb
import mullama_nb
from mullama_nb import Chat, Model, SessionManager
chat = Chat(path, n_ctx=256, n_threads=1, seed=1)
t = chat.ask('Why?', max_tokens=3); t = chat.tag('two words'); t = chat.tag('tide')
chat.save('my tides')
sessions = SessionManager(chat.model, 'folder')
sessions.create_session('prompt one', 'x').close()
def ask(name): ...
"""


@pytest.fixture(params=[True, False], ids=["jedi", "no jedi"])
def shell(request: pytest.FixtureRequest, one_shell: InteractiveShell) -> InteractiveShell:
    one_shell.Completer.use_jedi = request.param
    return one_shell


@pytest.fixture(scope="module")
def one_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    folder = tmp_path_factory.mktemp("shell")
    with pytest.MonkeyPatch.context() as patch, open_shell(folder, is_the_one=True) as shell:
        patch.chdir(folder)
        shell.user_ns["path"] = make_model(folder / "tiny.gguf", "llama", chat_template=CHATML)
        shell.run_cell(BEGIN).raise_error()
        yield shell


def completed(shell: InteractiveShell, cell: str) -> set[str]:
    """The cell with each completion that is offered."""
    with provisionalcompleter():
        found = shell.Completer.completions(cell, len(cell))
        return {cell[: each.start] + each.text + cell[each.end :] for each in found}


@pytest.mark.parametrize(
    ("cell", "rest"),
    [
        ("Model.load('smol", "lm2"),
        ('model = Model.load("smollm', "2"),
        ("Chat('smol", "lm2"),
        ("mullama_nb.Chat('smol", "lm2"),
        ("mullama_nb.Model.load('smo", "llm2"),
        ("x = 1\nChat.open('my", " tides"),
        ("Chat.open(\n    'my t", "ides"),
        ("Chat.open_or_create('m", "y tides"),
        ("chat.save('m", "y tides"),
        ("chat.checkout('two", " words"),
        ("chat.checkout('two w", "ords"),
        ("print(chat.checkout('ti", "de"),
        ("chat.tree.checkout('ROO", "T"),
        ("chat.tree.untag('ti", "de"),
        ("chat.regenerate('HEA", "D"),
        ("sessions.load('prompt o", "ne"),
    ],
)
def test_names_are_completed(shell: InteractiveShell, cell: str, rest: str) -> None:
    assert completed(shell, cell) == {cell + rest}


@pytest.mark.parametrize(
    "cell",
    [
        "ask('ti",
        "chat.ask('ti",
        "nobody.checkout('ti",
        "chat.checkout('tide', 'ti",
        "Chat.open('ti') + ('ti",
        "chat.turns[0].text.strip('ti",
    ],
)
def test_elsewhere_nothing_of_ours_is_offered(shell: InteractiveShell, cell: str) -> None:
    assert not completed(shell, cell) & {f"{cell}de", f"{cell}des"}


def test_it_is_offered_once(shell: InteractiveShell) -> None:
    n = len(shell.Completer.custom_matchers)
    shell.run_cell("%reload_ext mullama_nb").raise_error()
    assert len(shell.Completer.custom_matchers) == n


@pytest.mark.slow
def test_importing_the_package_is_enough() -> None:
    source = (
        "from IPython.core.completer import provisionalcompleter\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.run_cell('from mullama_nb import Model').raise_error()\n"
        "with provisionalcompleter():\n"
        "    found = shell.Completer.completions('Model.load(\"smol', 16)\n"
        "    print([each.text for each in found])"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "['smollm2']"
