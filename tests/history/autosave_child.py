"""A process that chats, saves after every turn, says so, and waits to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from mullama_nb import Chat, Model


def main() -> None:
    model, folder, n_turns = Model.load(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    chat = Chat(model, n_ctx=512, n_threads=1, temperature=0.9, seed=3)
    chat.autosave("diary", folder)
    for number in range(n_turns):
        answer = chat.ask(f"Say {number}.", max_tokens=4, echo=False)
        sys.stdout.write(f"{answer.checkpoint.id}\n")
        sys.stdout.flush()
    sys.stdin.read()  # as long as the one who started it lives


if __name__ == "__main__":
    main()
