"""What is said here where a replayed answer parts from the recorded one, on every architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ModelMaker
from engine.helpers import EVERY
from tiny_models import CHATML

from mullama_nb import Chat, Context
from mullama_nb.testing import read, record, replay


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY)
def test_the_text_is_that_of_going_on_from_the_token(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    model, other = (tiny(architecture, seed=n, chat_template=CHATML) for n in (0, 5))
    threads = {"n_threads": 1, "n_threads_batch": 1}
    chat = Chat(model, n_ctx=512, temperature=0, max_tokens=50, **threads)
    chat.ask("first")
    chat.ask("second", max_tokens=40)
    chat.resume(max_tokens=40)
    record(chat, tmp_path / "a.mullama.json")
    entries = {entry.id: entry for entry in read(tmp_path / "a.mullama.json").entries}
    report = replay(tmp_path / "a.mullama.json", other)
    parted = [each for each in report.checkpoints if each.token is not None and each.here]
    assert parted
    for each in parted:
        assert each.token is not None
        entry = next(entry for entry in entries.values() if each.name.startswith(entry.id[:7]))
        before, at = [], entry
        while at.parent is not None:
            at = entries[at.parent]
            before.append(at)
        with Context(other, chat.context.params) as context:
            for part in reversed(before):
                for tokens in [[t] for t in part.tokens] if part.is_generated else [part.tokens]:
                    context.evaluate(tokens)
            for token in entry.said[: each.token]:
                context.evaluate([token])
            said: list[int] = []
            while len(said) < len(entry.said) - each.token:
                said += [int(context.logits.argmax())]
                context.evaluate(said[-1:])
        assert each.here == other.detokenize(said, special=True)
