"""A notebook whose cells are run from the top: begins or goes on, checks, and talks until killed.

Writes a dot for each token, and for each turn that is over a line with its checkpoint's id.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mullama_nb import Chat, Model


def main() -> None:
    model, folder, n_ctx = Model.load(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    chat = Chat.open_or_create(
        "sky", model, folder, n_ctx=n_ctx, n_threads=1, temperature=0.9, seed=3
    )
    said = {c.id for c in chat.tree}
    lost = [identifier for identifier in sys.argv[4:] if identifier not in said]
    write(f"{len(lost)} lost of {len(sys.argv) - 4}\n")
    while True:
        if chat.context.token_count() > n_ctx // 2:
            chat.checkout("ROOT")
        answer = chat.ask("And then?", max_tokens=4, echo=False, on_token=lambda _: write("."))
        write(f"{answer.checkpoint.id}\n")


def write(text: Any) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
