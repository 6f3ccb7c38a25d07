"""What a session file says about itself is shown without a model, and without trusting it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from state.forge import Parts, put_together
from state.helper import ModelMaker, bare_context, context_of, some_tokens

from mullama_nb import SessionInfo, inspect_session
from mullama_nb.errors import SessionFormatError, SessionNotFoundError

STATE = bytes(40)


def forged(path: Path, metadata: object, tokens: tuple[int, ...] = (1, 2)) -> SessionInfo:
    data = json.dumps(metadata).encode()
    path.write_bytes(put_together(Parts(tokens, STATE, data)))
    return inspect_session(path)


def test_a_saved_session_says_what_it_is(tiny: ModelMaker, tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    before = datetime.now(timezone.utc).replace(microsecond=0)
    with context_of(tiny(), kv_cache_type=("f16", "f32"), n_ctx=512) as context:
        context.evaluate(some_tokens(30))
        saved = context.save_session(path)
    info = inspect_session(path)
    assert info == saved
    assert info.name == "a.session"
    assert (info.n_tokens, info.n_bytes) == (30, path.stat().st_size)
    assert info.model == tiny().name
    assert info.settings["fingerprint"] == tiny().fingerprint
    assert info.environment["n_threads"] == [1, 1]
    assert info.n_ctx == 512
    assert info.has_logits
    assert info.is_verified
    assert info.kv_cache_type == "f16/f32"
    assert info.created is not None
    assert before <= info.created <= datetime.now(timezone.utc)
    assert info.age is not None
    assert timedelta(0) <= info.age < timedelta(minutes=10)
    size = f"{path.stat().st_size:,} bytes"
    assert repr(info) == f"SessionInfo('a.session', {tiny().name}, 30 tokens, f16/f32, {size})"
    for shown in ("a.session", tiny().name, "f16/f32", size):
        assert shown in info._repr_html_()


def test_a_session_without_logits_says_so(tiny: ModelMaker, tmp_path: Path) -> None:
    with context_of(tiny()) as context:
        context.evaluate(some_tokens(5))
        info = context.save_session(tmp_path / "a", include_logits=False)
    assert not info.has_logits
    assert info.kv_cache_type == "f16"


def test_a_file_of_llama_cpp_says_little(tiny: ModelMaker, tmp_path: Path) -> None:
    path = tmp_path / "slot.bin"
    with bare_context(tiny()) as bare:
        bare.decode(some_tokens(12))
        bare.save_file(path, some_tokens(12))
    info = inspect_session(path)
    assert (info.n_tokens, info.n_bytes) == (12, path.stat().st_size)
    assert not info.is_verified
    assert (info.model, info.n_ctx, info.created, info.age, info.kv_cache_type) == (None,) * 5
    assert "model unknown, 12 tokens, KV type unknown" in repr(info)
    assert "unknown: written by llama.cpp" in info._repr_html_()


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    forged(tmp_path / "a", {"model": "m"})
    assert inspect_session("~/a").model == "m"


@pytest.mark.parametrize(
    ("metadata", "model", "n_ctx"),
    [
        ({"model": 3, "n_ctx": "many", "settings": [1], "environment": 2}, None, None),
        ({"model": "m", "n_ctx": True}, "m", None),
        ({"model": "m", "n_ctx": -5}, "m", None),
        ({"model": "x" * 10_000, "n_ctx": 7}, "x" * 100 + "...", 7),
        ({"model": "\x1b[31mred\nline\u202e"}, "\N{REPLACEMENT CHARACTER}[31mred", None),
        ({"settings": {"type_k": 1, "type_v": 2}, "created": "yesterday"}, None, None),
    ],
)
def test_what_a_forger_wrote_is_not_shown_as_it_is(
    tmp_path: Path, metadata: object, model: str | None, n_ctx: int | None
) -> None:
    info = forged(tmp_path / "a", metadata)
    assert (info.model or "").startswith(model or "")
    assert (info.model is None) == (model is None)
    assert info.n_ctx == n_ctx
    assert info.created is None
    assert all(character.isprintable() for character in repr(info))
    assert len(repr(info)) < 300
    assert info.kv_cache_type is None


def test_html_is_escaped(tmp_path: Path) -> None:
    types = {"type_k": "<b>", "type_v": "&"}
    info = forged(tmp_path / "<i>.session", {"model": "<script>", "settings": types})
    page = info._repr_html_()
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;/&amp;" in page
    assert "&lt;i&gt;.session" in page
    for tag in ("<script>", "<b>", "<i>"):
        assert tag not in page


def test_what_is_no_session_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("some notes, long enough to be read")
    with pytest.raises(SessionFormatError, match=r"notes\.txt is not a session"):
        inspect_session(tmp_path / "notes.txt")
    with pytest.raises(SessionNotFoundError):
        inspect_session(str(tmp_path / "absent"))
