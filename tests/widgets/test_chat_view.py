"""What a chat shows at the end of a cell."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from conftest import ModelMaker
from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.errors import ParameterError
from mullama_nb.widgets import ChatView, Timeline
from mullama_nb.widgets.chat_view import chat_view, view_bundle


def test_a_view_holds_panel_and_timeline(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=128, n_threads=1, n_threads_batch=1)
    view = chat_view(chat)
    assert repr(view) == "ChatView(0 messages)"
    names = [type(part).__name__ for part in view.children]
    assert names == ["ChatPanel", "UndoRedo", "Timeline"]
    state = view.get_state()
    for name, part in zip(("panel", "steps", "timeline"), view.children, strict=True):
        assert state[name] == f"anywidget:{part.model_id}"  # as a page finds it


def test_a_view_is_one_of_a_chat(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=128, n_threads=1, n_threads_batch=1)
    with pytest.raises(ParameterError, match="not a CheckpointTree"):
        ChatView(chat.tree)  # type: ignore[arg-type]


def test_a_chat_shown_again_is_another_view_of_the_same_widgets(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=128, n_threads=1, n_threads_batch=1)
    mime = "application/vnd.jupyter.widget-view+json"
    first, second = (view_bundle(chat)[0][mime] for _ in range(2))
    assert first == second
    assert chat_view(chat) is chat_view(chat)
    chat_view(chat).close()
    assert view_bundle(chat)[0][mime] != first


def test_colab_is_told_by_what_it_shows_a_widget(
    tiny: ModelMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result of a cell has no widget there without it; nobody has to switch anything on."""
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=128, n_threads=1, n_threads_batch=1)
    answers = chat.explore("Why?", 2, max_tokens=2)
    url, calls = "https://example.org/manager.js", list[str]()
    output = SimpleNamespace(
        enable_custom_widget_manager=lambda: calls.append("on"),
        _widgets=SimpleNamespace(_installed_url=url),
    )
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    monkeypatch.setattr("mullama_nb.history.display._in_kernel", lambda: True)
    mime = "application/vnd.jupyter.widget-view+json"
    for shown in (chat, Timeline(chat), answers):
        bundle, metadata = shown._repr_mimebundle_()
        assert mime in bundle
        assert metadata == {mime: {"colab": {"custom_widget_manager": {"url": url}}}}
    assert calls == ["on"]


def test_without_a_kernel_a_chat_is_escaped_text(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=256, n_threads=1, n_threads_batch=1)
    chat.replay([{"role": "user", "content": "<script>"}])
    bundle, _ = chat._repr_mimebundle_()
    assert sorted(bundle) == ["text/html", "text/plain"]
    assert "&lt;script&gt;" in bundle["text/html"]
