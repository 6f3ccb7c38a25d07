"""``%%regress`` in a real IPython: it records once, then compares, and says the same each time."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from mullama_nb import Model
from mullama_nb.errors import RecordingError, RegressionError

ASK = """\
chat = Chat(model, {system!r}, n_ctx=256, n_threads=1, temperature=0)
chat.ask('hello', max_tokens=4)
print('words')"""


@pytest.fixture
def shell(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_models: tuple[Model, Model],
    main_module: None,  # noqa: ARG001 - it puts back what the shell takes the place of
) -> Iterator[InteractiveShell]:
    """A shell of its own in an empty folder, with a model."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    shell = InteractiveShell()
    shell.user_ns["model"] = tiny_models[0]
    shell.run_cell("from mullama_nb import Chat\n%load_ext mullama_nb").raise_error()
    yield shell
    atexit.unregister(shell.atexit_operations)
    shell.atexit_operations()


def test_it_records_and_then_compares(
    shell: InteractiveShell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = f"%%regress hello\n{ASK.format(system='Be brief.')}"
    shell.run_cell(cell).raise_error()
    assert capsys.readouterr().out == "hello: recorded 3 checkpoints\n"
    before = (tmp_path / "hello.mullama.json").read_bytes()
    for _ in range(2):
        shell.run_cell(cell).raise_error()
        assert capsys.readouterr().out == "hello: passed, 3 checkpoints\n"
    assert (tmp_path / "hello.mullama.json").read_bytes() == before
    assert len(shell.user_ns["chat"].turns) == 3  # the cell ran in the notebook


def test_what_does_not_hold_is_an_error_that_is_the_report(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], tiny_models: tuple[Model, Model]
) -> None:
    shell.run_cell(f"%%regress hello\n{ASK.format(system='Be brief.')}").raise_error()
    capsys.readouterr()
    with pytest.raises(RegressionError, match=r"'Be brief\.' recorded, 'Be long\.' here"):
        shell.run_cell(f"%%regress hello\n{ASK.format(system='Be long.')}").raise_error()
    out = capsys.readouterr().out
    assert out.startswith("RegressionError: FAILED at level probabilities: 3 checkpoints")
    assert "Traceback" not in out
    shell.user_ns["model"] = tiny_models[1]
    with pytest.raises(RegressionError, match="the weights"):
        shell.run_cell(f"%%regress hello\n{ASK.format(system='Be brief.')}").raise_error()


def test_the_last_line_may_give_the_conversation(
    shell: InteractiveShell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.user_ns["folder"] = tmp_path / "recordings"
    (tmp_path / "recordings").mkdir()
    cell = "%%regress {folder}/other --level exact\n" + ASK.format(system="x") + "\nchat.tree"
    shell.run_cell(cell).raise_error()
    shell.run_cell(cell).raise_error()
    assert capsys.readouterr().out.splitlines()[-1] == "other: passed, 3 checkpoints"
    assert (tmp_path / "recordings" / "other.mullama.json").exists()


def test_errors_of_the_cell_and_of_the_line(shell: InteractiveShell, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        shell.run_cell("%%regress hello\n1 / 0").raise_error()
    assert not (tmp_path / "hello.mullama.json").exists()
    with pytest.raises(UsageError, match="'chat'"):
        shell.run_cell("%%regress hello\npass").raise_error()
    for line in ("", "hello --level close", "'hello"):
        with pytest.raises(UsageError):
            shell.run_cell(f"%%regress {line}\npass").raise_error()
    (tmp_path / "hello.mullama.json").write_text("{", "utf-8")
    with pytest.raises(RecordingError, match="hello"):
        shell.run_cell(f"%%regress hello\n{ASK.format(system='x')}").raise_error()
