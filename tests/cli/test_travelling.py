"""``mullama-nb session push`` and ``pull``."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sessions.store_child import check, save

from mullama_nb import Chat, Model
from mullama_nb.cli.session import session
from mullama_nb.sessions.store import SessionStore


def run_here(folder: Path, *words: str) -> Result:
    result = CliRunner().invoke(session, ["--folder", str(folder), *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def s3(home: dict[str, str]) -> Iterator[dict[str, str]]:
    """An environment in which s3://class is a bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = {"FSSPEC_S3_ENDPOINT_URL": f"http://{host}:{port}"}
    code = "import s3fs; s3fs.S3FileSystem().mkdir('class')"
    environment = home | endpoint | {"FSSPEC_S3_KEY": "a", "FSSPEC_S3_SECRET": "b"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    yield environment
    server.stop()


def test_sessions_are_pushed_and_pulled(tmp_path: Path) -> None:
    here, there, shared = tmp_path / "here", tmp_path / "there", str(tmp_path / "shared")
    for number, name in enumerate("abc"):
        save(SessionStore(here), name, number)
    pushed = run_here(here, "push", shared, "a", "b")
    assert pushed.exit_code == 0
    assert re.fullmatch(r"pushed a, b: 4 segments, [0-9.]+ kB\n", pushed.stderr)
    assert pushed.stdout == ""
    assert "pushed c: 2 segments" in run_here(here, "push", shared).stderr
    assert run_here(there, "pull", shared, "c").stderr.startswith("pulled c: 2 segments")
    assert re.fullmatch(
        r"pulled a, b: 4 segments, [0-9.]+ kB; 1 unchanged\n",
        run_here(there, "pull", shared).stderr,
    )
    assert (
        run_here(there, "pull", shared).stderr == "pulled nothing: 0 segments, 0 B; 3 unchanged\n"
    )
    for name in "abc":
        check(SessionStore(there), name)
    missing = run_here(there, "pull", shared, "d")
    assert (missing.exit_code, "no session 'd'; there is a, b, c" in missing.stderr) == (1, True)


def test_what_was_changed_at_both_ends_is_replaced_if_that_is_said(tmp_path: Path) -> None:
    here, there, shared = tmp_path / "here", tmp_path / "there", str(tmp_path / "shared")
    save(SessionStore(here), "a", 1)
    save(SessionStore(there), "a", 2)
    run_here(here, "push", shared)
    for words in (("push", shared), ("pull", shared)):
        refused = run_here(there, *words)
        assert (refused.exit_code, "elsewhere" in refused.stderr) == (1, True)
    assert run_here(there, "pull", shared, "--replace").exit_code == 0
    assert len(SessionStore(there).versions("a")) == 2
    check(SessionStore(there), "a")


@pytest.mark.slow
def test_a_chat_goes_through_a_bucket_to_another_machine(
    s3: dict[str, str], tmp_path: Path, smollm2: Model
) -> None:
    chat = Chat(smollm2, n_ctx=256)
    chat.ask("What is a harbour?", max_tokens=6, seed=1, echo=False)
    chat.save("desk", tmp_path / "here")

    for folder, words in (("here", ("push", "s3://class/1")), ("there", ("pull", "s3://class/1"))):
        done = subprocess.run(
            [sys.executable, "-m", "mullama_nb", "session", "--folder", folder, *words],
            capture_output=True,
            encoding="utf-8",
            cwd=tmp_path,
            env=s3,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "desk: " in done.stderr
    opened = Chat.open("desk", folder=tmp_path / "there")  # the model is known here by its file
    assert opened.context.logits.tobytes() == chat.context.logits.tobytes()
    answers = [c.ask("And a pier?", max_tokens=6, seed=2, echo=False) for c in (chat, opened)]
    assert answers[0].text == answers[1].text
    assert opened.head.logprobs == chat.head.logprobs
