"""The conversation that these tests record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mullama_nb import Chat, Model
from mullama_nb.testing.sealing import seal

OPTIONS = {"n_ctx": 512, "temperature": 0, "n_threads": 2, "n_threads_batch": 2}


def rewrite(path: Path, body: dict[str, Any]) -> None:
    """Write what a test made of a recording, with checksums that fit."""
    body["checkpoints"] = len(body["entries"])
    seal(body)
    path.write_text(json.dumps(body), "utf-8")


def lead(model: Model, system: str = "Be brief.", **changes: object) -> Chat:
    """Two questions, the second one answered twice with draws."""
    chat = Chat(model, system, **(OPTIONS | changes))
    chat.ask("Name three colours, and say why you like them.", max_tokens=24)
    chat.ask("And the sea?", max_tokens=8, temperature=0.8, seed=3)
    chat.regenerate(max_tokens=8, temperature=0.8, seed=3)
    chat.tag("end")
    return chat
