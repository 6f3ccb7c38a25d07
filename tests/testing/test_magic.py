"""``%%regress`` in a real IPython: it records once, then compares, and says the same each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from shells import open_shell

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
) -> Iterator[InteractiveShell]:
    """A shell of its own in an empty folder, with a model."""
    monkeypatch.chdir(tmp_path)
    with open_shell(tmp_path) as shell:
        shell.user_ns["model"] = tiny_models[0]
        shell.run_cell("from mullama_nb import Chat\n%load_ext mullama_nb").raise_error()
        yield shell


def test_it_records_and_then_compares(
    shell: InteractiveShell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = f"%%regress hello\n{ASK.format(system='Be brief.')}"
    shell.run_cell(cell).raise_error()
    assert capsys.readouterr().out == "hello: 3 checkpoints, as recorded\n"
    before = (tmp_path / "hello.mullama.json").read_bytes()
    for _ in range(2):
        shell.run_cell(cell).raise_error()
        assert capsys.readouterr().out == "hello: 3 checkpoints, as recorded\n"
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
    assert out.startswith(
        "1 answer moved\nRegressionError: FAILED at level probabilities: 3 checkpoints"
    )
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
    assert capsys.readouterr().out.splitlines()[-1] == "other: 3 checkpoints, as recorded"
    assert (tmp_path / "recordings" / "other.mullama.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("last", ["led", "led.tree"])
def test_the_last_line_may_give_another_conversation_than_the_notebook_s(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], last: str
) -> None:
    shell.run_cell(ASK.format(system="x")).raise_error()
    cell = f"%%regress hello\n{ASK.format(system='y').replace('chat', 'led')}\n{last}"
    capsys.readouterr()
    for _ in range(2):
        shell.run_cell(cell).raise_error()
    assert capsys.readouterr().out == "hello: 3 checkpoints, as recorded\n" * 2
    with pytest.raises(RegressionError):
        shell.run_cell(cell.replace("'y'", "'z'")).raise_error()


@pytest.mark.slow
def test_errors_of_the_cell_and_of_the_line(shell: InteractiveShell, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        shell.run_cell("%%regress hello\n1 / 0").raise_error()
    assert not (tmp_path / "hello.mullama.json").exists()
    for idle in ("pass", "chat = None", "x = 3\nx"):
        with pytest.raises(UsageError, match="this cell leads no chat"):
            shell.run_cell(f"%%regress hello\n{idle}").raise_error()
    shell.run_cell(ASK.format(system="x")).raise_error()
    for idle in ("pass", "chat.turns[-1].text", "len(chat.tree)"):
        with pytest.raises(UsageError, match="its last line is no chat"):
            shell.run_cell(f"%%regress hello\n{idle}").raise_error()
    assert not (tmp_path / "hello.mullama.json").exists()
    for line in ("", "hello --level close", "'hello"):
        with pytest.raises(UsageError):
            shell.run_cell(f"%%regress {line}\npass").raise_error()
    (tmp_path / "hello.mullama.json").write_text("{", "utf-8")
    with pytest.raises(RecordingError, match="hello"):
        shell.run_cell(f"%%regress hello\n{ASK.format(system='x')}").raise_error()


@pytest.mark.slow
@pytest.mark.parametrize("ends_in", ["chat", "chat.tree", "chat.regenerate(max_tokens=3);"])
def test_any_cell_that_leads_a_chat_is_recorded(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], ends_in: str
) -> None:
    shell.run_cell(ASK.format(system="x")).raise_error()
    capsys.readouterr()
    shell.run_cell(f"%%regress hello\n{ends_in}").raise_error()
    assert capsys.readouterr().out.endswith("checkpoints, as recorded\n")


def test_a_change_that_was_meant_is_recorded_anew(
    shell: InteractiveShell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = "%%regress hello{}\n" + ASK
    shell.run_cell(cell.format("", system="Be brief.")).raise_error()
    before = (tmp_path / "hello.mullama.json").read_bytes()
    with pytest.raises(RegressionError) as failed:
        shell.run_cell(cell.format(" --level near-ties", system="Be long.")).raise_error()
    advice = "%%regress hello --level near-ties --update"
    assert str(failed.value).endswith(f"If this was meant, record it anew: {advice}")
    capsys.readouterr()
    shell.run_cell(f"{advice}\n{ASK.format(system='Be long.')}").raise_error()
    assert capsys.readouterr().out == "hello: 3 checkpoints, as recorded\n"
    assert (tmp_path / "hello.mullama.json").read_bytes() != before
    shell.run_cell(cell.format("", system="Be long.")).raise_error()


def test_a_failure_shows_which_answers_moved(
    shell: InteractiveShell, tiny_models: tuple[Model, Model]
) -> None:
    """The strip is red at the first token that differs, wherever that is."""
    asks = (
        "chat = Chat(model, n_ctx=256, n_threads=1, temperature=0, {})\n"
        "a = chat.ask('hello', max_tokens=40)"
    )
    shell.run_cell(f"%%regress hello\n{asks.format('seed=1')}").raise_error()
    was = shell.user_ns["a"].tokens
    # A token that is forbidden is missed where it stood first.
    place = next(i for i in range(12, 40) if was[i] not in was[:i])
    published: list[dict[str, str]] = []
    shell.display_pub.publish = lambda data, **_: published.append(data)
    bias = f"logit_bias={{{was[place]}: -90.0}}"
    with pytest.raises(RegressionError, match=f"moved at token {place}: ") as failed:
        shell.run_cell(f"%%regress hello\n{asks.format(bias)}").raise_error()
    now = shell.user_ns["a"].tokens
    assert now[:place] == was[:place]
    piece = tiny_models[0].vocabulary.piece(was[place]).decode("utf-8", "backslashreplace")
    assert f"{piece!r} (" in str(failed.value)
    (bundle,) = published
    markup = bundle["text/html"]
    red = '<b style="color:var(--jp-error-color1, #d32f2f)"'
    assert (bundle["text/plain"], markup.count(red)) == ("1 answer moved", 2)
