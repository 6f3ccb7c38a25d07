"""``mullama-nb session``: the store from the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import Run
from tiny_models import CHATML, make_model

from mullama_nb import Chat, Context, ContextParams, Model, SessionManager, inspect_session

PARAMS = ContextParams(n_ctx=256, kv_cache_type="q8_0")


@pytest.fixture
def folder(tmp_path: Path, smollm2: Model) -> Path:
    """A store with two sessions of one beginning."""
    manager = SessionManager(smollm2, tmp_path / "store", PARAMS)
    prompt = smollm2.apply_chat_template(
        [{"role": "system", "content": "Be brief."}], add_generation_prompt=False
    )
    for name in ("été", "b"):
        manager.create_session(name, prompt).close()
    return manager.session_dir


def test_sessions_are_listed_shown_renamed_and_deleted(run: Run, folder: Path) -> None:
    store = ("session", "--folder", str(folder))
    listed = json.loads(run(*store, "list", "--json").stdout)
    assert [(entry["name"], entry["kv_cache_type"]) for entry in listed] == [
        ("b", "q8_0"),
        ("été", "q8_0"),
    ]
    assert listed[0]["own_bytes"] == 0 < listed[0]["shared_bytes"]
    assert "été" in run(*store, "list").stdout
    assert run(*store, "rename", "b", "c").returncode == 0
    assert "q8_0" in run(*store, "show", "c").stdout
    missing = run(*store, "show", "b")
    assert missing.returncode == 1
    assert "there is c, été" in missing.stderr
    assert run(*store, "delete", "c", "été").returncode == 0
    assert json.loads(run(*store, "list", "--json").stdout) == []


def test_a_hostile_name_is_refused(run: Run, folder: Path) -> None:
    done = run("session", "--folder", str(folder), "rename", "b", "../../b")
    assert done.returncode == 1
    assert "holds '/'" in done.stderr


def test_a_session_goes_out_as_a_file_and_comes_back(
    run: Run, folder: Path, tmp_path: Path, smollm2: Model
) -> None:
    store = ("session", "--folder", str(folder))
    exported = run(*store, "export", "b", "out.session")
    assert exported.returncode == 0, exported.stderr
    with Context(smollm2, PARAMS) as context:
        context.load_session(tmp_path / "out.session")
        assert "Be brief." in context.text()
    added = run(*store, "add", "out.session", "again")
    assert added.returncode == 0, added.stderr
    n_tokens = inspect_session(tmp_path / "out.session").n_tokens
    entry = json.loads(run(*store, "show", "again", "--json").stdout)
    assert (entry["tokens"], entry["kv_cache_type"]) == (n_tokens, "q8_0")


@pytest.mark.slow
def test_what_a_sliding_window_does_not_see_is_left_out(run: Run, tmp_path: Path) -> None:
    path = make_model(tmp_path / "window.gguf", "gemma3")
    manager = SessionManager(Model.load(path), tmp_path / "store", ContextParams(n_ctx=1024))
    manager.create_session("long", "tide " * 200).close()
    sizes = []
    for name, options in (("all", ()), ("window", ("--window-only",))):
        done = run(
            *("session", "--folder", "store", "export", "long", f"{name}.session"),
            *("--model", "./window.gguf", *options),
        )
        assert done.returncode == 0, done.stderr
        info = inspect_session(tmp_path / f"{name}.session")
        assert f"{info.n_tokens:,} tokens written to {name}.session" in done.stderr
        sizes.append(info.n_bytes)
    assert sizes[1] < sizes[0] - 100 * 64
    assert manager.export("long", tmp_path / "w", window_only=True).n_bytes == sizes[1]


def test_a_session_is_loaded_and_talked_to(run: Run, folder: Path) -> None:
    done = run(
        *("session", "--folder", str(folder), "load", "b", "--max-tokens", "3"),
        stdin="Name a colour.\n/tree\n",
    )
    assert done.returncode == 0, done.stderr
    assert "System Be brief." in done.stdout
    assert "You Name a colour." in done.stdout


def test_damage_is_found_and_its_sessions_named(run: Run, folder: Path) -> None:
    store = ("session", "--folder", str(folder))
    assert "2 sessions are sound" in run(*store, "verify").stderr
    (segment,) = folder.rglob("*.segment")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    found = run(*store, "verify")
    assert found.returncode == 1
    assert found.stdout.startswith("b, été: ")
    assert run(*store, "gc").returncode == 0


@pytest.mark.slow
def test_a_live_chat_is_listed_and_kept(run: Run, home: dict[str, str], tmp_path: Path) -> None:
    """What a terminal saves as it goes can be copied by another one, and outlives it."""
    talking = subprocess.Popen(
        (
            sys.executable,
            "-m",
            "mullama_nb",
            "run",
            "smollm2",
            "--interactive",
            "--max-tokens",
            "3",
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=home,
    )
    with talking:
        assert talking.stdin is not None
        assert talking.stderr is not None
        talking.stdin.write("Name a colour.\n/save my-chat\nAnother?\n/sessions\n/tag x y\n")
        talking.stdin.flush()
        while "usage: /tag" not in (line := talking.stderr.readline()):
            assert line
        (live,) = json.loads(run("session", "list", "--json").stdout)
        assert (live["name"], live["kind"], live["live"]) == ("my-chat", "chat", True)
        kept = run("session", "save", "copy")
        assert kept.returncode == 0, kept.stderr
        talking.send_signal(signal.SIGKILL)
    entries = json.loads(run("session", "list", "--json").stdout)
    assert [(entry["name"], entry["live"]) for entry in entries] == [
        ("copy", False),
        ("my-chat", False),
    ]
    done = run("session", "load", "my-chat", stdin="/tree\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" You ") == 2
    assert "no chat is live" in run("session", "save", "third").stderr


def test_a_chat_of_a_notebook_goes_on_in_the_terminal(
    run: Run, tmp_path: Path, smollm2: Model
) -> None:
    chat = Chat(smollm2, "Be brief.", n_ctx=256)
    chat.ask("Name a colour.", max_tokens=3)
    chat.save("lesson", folder=tmp_path / "store")
    done = run(
        *("session", "--folder", str(tmp_path / "store"), "load", "lesson", "--max-tokens", "2"),
        stdin="/undo\n/redo\n/regenerate\n/tree\n",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" Model ") == 2


def test_a_conversation_of_another_program_is_imported(run: Run, tmp_path: Path) -> None:
    make_model(tmp_path / "tiny.gguf", "llama", chat_template=CHATML)
    said = [{"from": "human", "value": "Name a river."}, {"from": "gpt", "value": "The Tay."}]
    lines = [{"conversations": said}, {"conversations": said[:1]}]
    (tmp_path / "many.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    store = ("session", "--folder", str(tmp_path / "store"))
    options = ("--model", "./tiny.gguf", "--n-ctx", "256")
    several = run(*store, "import", "many.jsonl", "rivers", *options)
    assert several.returncode == 1
    assert "2 conversations" in several.stderr
    done = run(*store, "import", "many.jsonl", "rivers", "--index", "0", *options)
    assert done.returncode == 0, done.stderr
    assert "imported rivers, 2 checkpoints" in done.stderr
    chat = Chat.open("rivers", tmp_path / "tiny.gguf", tmp_path / "store")
    assert [message["content"] for message in chat.messages] == ["Name a river.", "The Tay."]
    make_model(tmp_path / "base.gguf", "llama")
    plain = ("--model", "./base.gguf", "--n-ctx", "256", "--index", "0")
    told = run(*store, "import", "many.jsonl", "plain", *plain)
    assert (told.returncode, "as plain text" in told.stderr) == (0, True)
    (tmp_path / "no.json").write_text("[]", "utf-8")
    refused = run(*store, "import", "no.json", "no", *options)
    assert refused.returncode == 1
    assert "no.json: there are no messages in it" in refused.stderr
