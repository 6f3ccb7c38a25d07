"""Recordings replay the same, and say where they do not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mullama_nb import Chat, Model
from mullama_nb.errors import MullamaError
from mullama_nb.testing import RecordingError, compare, read, record, replay

OPTIONS = {"n_ctx": 512, "temperature": 0, "n_threads": 2, "n_threads_batch": 2}


def recorded(model: Model, path: Path, system: str = "Be brief.") -> Path:
    chat = Chat(model, system, **OPTIONS)
    chat.ask("Name three colours, and say why you like them.", max_tokens=24)
    chat.ask("And the sea?", max_tokens=8, temperature=0.8, seed=3)
    chat.regenerate(max_tokens=8, temperature=0.8, seed=3)
    chat.tree.tag("end")
    record(chat, path)
    return path


@pytest.fixture(scope="module")
def recording(smollm2: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(smollm2, tmp_path_factory.mktemp("recorded") / "a.mullama.json")


def test_a_new_process_replays_it_to_the_bit(recording: Path, smollm2_path: Path) -> None:
    code = (
        "import sys; from mullama_nb.testing import replay; "
        "r = replay(sys.argv[1], sys.argv[2], 'exact'); print(r); sys.exit(not r.is_identical)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, recording, smollm2_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("identical")


def test_it_names_the_first_token_that_q4_0_changes(recording: Path, smollm2: Model) -> None:
    report = replay(recording, smollm2, kv_cache_type="q4_0")
    changed = next(c for c in report.checkpoints if c.token is not None)
    assert changed.recorded != changed.here
    assert changed.gap is not None
    assert report.mean_difference > 0
    assert "KV cache type: f16 saved, q4_0 here" in str(report)
    assert not replay(recording, smollm2, "exact", kv_cache_type="q4_0").passed


def test_other_threads_pass_all_but_exact(recording: Path, smollm2: Model) -> None:
    threads = {"n_threads": 1, "n_threads_batch": 1}
    assert not replay(recording, smollm2, "exact", **threads).passed
    assert replay(recording, smollm2, **threads).passed


def test_another_system_prompt(recording: Path, smollm2: Model, tmp_path: Path) -> None:
    other = recorded(smollm2, tmp_path / "b.mullama.json", "Be a pirate.")
    report = compare(recording, other)
    assert not report.passed
    assert "Be a pirate." in str(report)
    assert compare(recording, recording, "exact").is_identical


def test_one_changed_token(recording: Path, smollm2: Model, tmp_path: Path) -> None:
    body = json.loads(recording.read_text())
    entry = next(e for e in body["entries"] if e["steps"])
    entry["tokens"][5] = (entry["tokens"][5] + 1000) % smollm2.n_vocab
    changed = tmp_path / "c.mullama.json"
    changed.write_text(json.dumps(body))
    report = replay(changed, smollm2, "near-ties")
    assert not report.passed
    assert report.checkpoints[0].token == 5
    assert not replay(changed, smollm2).passed


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_file(recording: Path, tmp_path: Path, share: float) -> None:
    data = recording.read_bytes()
    cut = tmp_path / "cut.mullama.json"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(RecordingError, match="record it anew"):
        read(cut)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("entries", None),
        ("entries", [1]),
        ("tags", {"end": "nowhere"}),
        ("params", {"n_ctx": -5}),
        ("params", {"unknown": 1}),
        ("mullama_recording", 99),
    ],
    ids=str,
)
def test_a_hostile_file(
    recording: Path, tmp_path: Path, smollm2: Model, key: str, value: object
) -> None:
    path = tmp_path / "hostile.mullama.json"
    path.write_text(json.dumps(json.loads(recording.read_text()) | {key: value}))
    with pytest.raises(MullamaError):
        replay(path, smollm2)
