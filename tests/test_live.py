"""What lives in one process says so when it is copied, pickled or sent to another."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mullama_nb import Chat, CheckpointTree, Context, Model, SessionManager
from mullama_nb.errors import CopyError, MullamaError
from mullama_nb.testing import make_tiny_model

MADE: dict[str, tuple[Callable[[Chat, Path], Any], str]] = {
    "Model": (lambda chat, _: chat.model, r"Model\.load.*executor=.*recipe"),
    "Context": (lambda chat, _: chat.context, r"fork\(\) .*save_session.*executor="),
    "Chat": (lambda chat, _: chat, r"chat\.save\(name\) .*Chat\.open.*executor="),
    "CheckpointTree": (lambda chat, _: chat.tree, r"Chat\.save.*executor="),
    "Turn": (lambda chat, _: chat.turns[-1], r"str\(turn\)"),
    "Checkpoint": (lambda chat, _: chat.head, "id and its tokens"),
    "SessionManager": (
        lambda chat, folder: SessionManager(chat.model, folder),
        "session_dir.*executor=",
    ),
}
WAYS: dict[str, Callable[[Any], object]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "within": lambda value: copy.deepcopy({"a": [value]}),
    **{f"pickle {n}": lambda value, n=n: pickle.dumps(value, n) for n in (0, 2, 5)},
}


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Chat:
    path = make_tiny_model(tmp_path_factory.mktemp("live") / "m.gguf")
    chat = Chat(Model.load(path), n_ctx=256, n_threads=1)
    chat.ask("hello", max_tokens=2)
    return chat


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", MADE)
def test_a_copy_is_refused_in_words(chat: Chat, tmp_path: Path, kind: str, way: str) -> None:
    make, words = MADE[kind]
    with pytest.raises(CopyError, match=f"a {kind} cannot be copied, pickled.*{words}") as caught:
        WAYS[way](make(chat, tmp_path))
    assert isinstance(caught.value, MullamaError)
    assert isinstance(caught.value, TypeError)


def test_another_process_is_sent_no_chat(chat: Chat) -> None:
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=spawn) as pool,
        pytest.raises(CopyError, match=r"Chat\.open"),
    ):
        pool.submit(len, chat).result()


def test_what_is_a_value_can_be_copied(chat: Chat) -> None:
    said = chat.context.params, chat.sampling, chat.messages, chat.context.capture().tokens
    assert pickle.loads(pickle.dumps(said)) == copy.deepcopy(said) == said
    assert isinstance(chat.tree, CheckpointTree)
    assert isinstance(chat.context, Context)
