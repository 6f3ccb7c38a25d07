"""``mullama-nb record`` and ``replay``, as a script or CI runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_process import Run

from mullama_nb import Chat, Model
from mullama_nb.testing import make_tiny_model, read, record

QUICK = ("--threads", "1", "--n-ctx", "256", "--temperature", "0", "--max-tokens", "6")


@pytest.fixture
def tiny_files(tmp_path: Path) -> tuple[str, str]:
    """Two models with one vocabulary, in the folder."""
    for seed in (0, 1):
        make_tiny_model(tmp_path / f"tiny{seed}.gguf", seed=seed)
    return "./tiny0.gguf", "./tiny1.gguf"


@pytest.mark.slow
def test_a_recording_holds_where_it_was_made(run: Run, tmp_path: Path) -> None:
    made = run("record", "a.mullama.json", "Hello!", "And the sea?", "--model", "smollm2", *QUICK)
    assert made.returncode == 0, made.stderr
    assert made.stderr == "a.mullama.json: 4 checkpoints, 12 generated tokens\n"
    turns = [e for e in read(tmp_path / "a.mullama.json").entries if e.is_generated]
    assert made.stdout == "".join(f"{entry.text}\n" for entry in turns)
    done = run("replay", "a.mullama.json", "--level", "exact")
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == (
        "identical: 4 checkpoints, 12 generated tokens\n",
        "",
    )


@pytest.mark.slow
def test_what_differs_is_said_and_ends_with_1(run: Run, tiny_files: tuple[str, str]) -> None:
    assert run("record", "a.json", "hello", "--model", tiny_files[0], *QUICK).returncode == 0
    differs = run("replay", "a.json", "--model", tiny_files[1])
    assert differs.returncode == 1
    assert "FAILED at level probabilities" in differs.stdout
    assert "a real change" in differs.stdout
    assert differs.stderr == ""
    other = json.loads(run("replay", "a.json", "--model", tiny_files[1], "--json").stdout)
    assert other["passed"] is False
    assert other["checkpoints"][0]["token"] == 0
    coarse = run("replay", "a.json", "--model", tiny_files[0], "--kv", "q8_0", "--json")
    assert json.loads(coarse.stdout)["settings"] == ["the KV cache type: f16 saved, q8_0 here"]


@pytest.mark.slow
def test_what_cannot_be_replayed_ends_with_2(
    run: Run, tmp_path: Path, tiny_files: tuple[str, str]
) -> None:
    assert run("record", "a.json", "hello", "--model", tiny_files[0], *QUICK).returncode == 0
    (tmp_path / "cut.json").write_bytes((tmp_path / "a.json").read_bytes()[:-20])
    for arguments, reason in (
        (("none.json",), "does not exist"),
        (("cut.json",), "cut short"),
        (("a.json",), "'tiny0', which is not known here"),
        (("a.json", "--model", "smollm2"), "another vocabulary"),
        (("a.json", "--level", "close"), "'close'"),
        (("a.json", "--kv", "q9"), "'q9'"),
    ):
        done = run("replay", *arguments)
        assert done.returncode == 2, arguments
        assert reason in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_a_saved_chat_is_recorded_with_its_tree(
    run: Run, tmp_path: Path, tiny_files: tuple[str, str]
) -> None:
    chat = Chat(Model.load(tmp_path / tiny_files[0]), "Be brief.", n_ctx=256, n_threads=1)
    chat.ask("hello", max_tokens=4)
    chat.regenerate(max_tokens=4)
    chat.tag("end")
    chat.save("lesson", tmp_path / "store")
    done = run("record", "a.json", "--chat", "lesson", "--folder", "store")
    assert done.returncode == 0, done.stderr
    record(chat, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_text("utf-8") == (tmp_path / "b.json").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "FILE"),
        (("a.json",), "--model and QUESTIONS"),
        (("a.json", "hello"), "--model and QUESTIONS"),
        (("a.json", "hello", "--chat", "lesson"), "leave others out"),
        (("a.json", "--chat", "lesson", "--seed", "1"), "leave others out"),
        (("a.json", "hello", "--model", "smollm2", "--folder", "x"), "--folder"),
    ],
    ids=str,
)
def test_how_record_is_called(run: Run, arguments: tuple[str, ...], reason: str) -> None:
    done = run("record", *arguments)
    assert done.returncode == 2
    assert reason in done.stderr


@pytest.mark.slow
def test_several_are_replayed_in_processes_of_their_own(
    run: Run, tmp_path: Path, tiny_files: tuple[str, str]
) -> None:
    for name, model in zip(("a.json", "b.json"), tiny_files, strict=True):
        assert run("record", name, "hello", "--model", model, *QUICK).returncode == 0
    (tmp_path / "cut.json").write_bytes((tmp_path / "a.json").read_bytes()[:-20])
    held = run("replay", "a.json", "a.json", "--model", tiny_files[0], "--workers", "2")
    assert (held.returncode, held.stderr) == (0, "")
    assert held.stdout.splitlines() == [
        "2 recordings: passed",
        *["a.json: identical: 2 checkpoints, 6 generated tokens"] * 2,
    ]
    differs = run("replay", "a.json", "b.json", "--model", tiny_files[0], "--json")
    assert differs.returncode == 1
    found = json.loads(differs.stdout)["recordings"]
    assert [(each["name"], each["passed"]) for each in found] == [
        ("a.json", True),
        ("b.json", False),
    ]
    cut = run("replay", "cut.json", "a.json", "--model", tiny_files[0])
    assert cut.returncode == 2
    assert cut.stdout.startswith("2 recordings: 1 FAILED\ncut.json: FAILED: ")
    both = run("replay", "a.json", "--workers", "2", "--dask", "tcp://127.0.0.1:9")
    assert both.returncode == 2
    assert "give one" in both.stderr
