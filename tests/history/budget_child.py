"""Opens saved chats in a process of its own and resumes their answers; run by test_budgets.py.

Arguments: the model, and a folder with the store and `jobs.json`. What each answer says is printed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mullama_nb import Chat, Model
from mullama_nb.engine.completion import Token


def main(model_path: str, folder: Path) -> None:
    model = Model.load(model_path)
    said = {}
    for name, options in json.loads((folder / "jobs.json").read_text()).items():
        tokens: list[Token] = []
        chat = Chat.open(name, model, folder / "store")
        turn = chat.resume(on_token=tokens.append, echo=False, **options)
        said[name] = [[[token.id, token.part] for token in tokens], turn.raw, turn.reasoning]
        chat.context.close()
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
