"""Tasks that workers import, as a user's module is."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

from waiting import wait_until

from mullama_nb import Chat, ContextParams, Model
from mullama_nb.errors import ContextFullError
from mullama_nb.tasks import worker
from mullama_nb.tasks.recipe import ModelRecipe


def square(x: int) -> int:
    return x * x


def fail(task: Exception) -> None:
    raise task


def full(free: int) -> None:
    raise ContextFullError("no room", needed=2, free=free)


def process(_task: object) -> int:
    return os.getpid()


class Looked(NamedTuple):
    """What a task saw of its worker."""

    process: int
    loads: int
    held: int
    threads: int
    where: str


_loads: list[Any] = []
_load = Model.load.__func__  # type: ignore[attr-defined]


def _counted(cls: type[Model], *values: Any, **options: Any) -> Model:
    _loads.append(values)
    loaded: Model = _load(cls, *values, **options)
    return loaded


def look(task: tuple[ModelRecipe, ContextParams, tuple[int, ...]]) -> Looked:
    """Evaluate tokens behind what they have in common with what the context holds."""
    Model.load = classmethod(_counted)  # type: ignore[method-assign,assignment]
    recipe, params, tokens = task
    with worker.lend(recipe, params) as context:
        held = context.token_count()
        pairs = zip(context.tokens, tokens, strict=False)
        n_common = next((i for i, (a, b) in enumerate(pairs) if a != b), min(held, len(tokens)))
        context.rewind(min(n_common, len(tokens) - 1))
        context.evaluate(tokens[context.token_count() :])
        return Looked(*(os.getpid(), len(_loads), held, context.params.threads[0], worker.where()))


def die(task: tuple[Path, int, frozenset[int]]) -> int:
    """Note that a task has begun; then end the process, if it is one of those."""
    folder, number, deadly = task
    with (folder / f"{number}").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if number in deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def meet(folder: str | Path, n: int) -> int:
    """Wait until so many processes are here; return this one's number."""
    (Path(folder) / str(os.getpid())).touch()
    wait_until(lambda: len([*Path(folder).iterdir()]) >= n)
    return os.getpid()


def stay(folder: Path) -> None:
    """Say that it has begun, and stay until the process is ended."""
    (folder / str(os.getpid())).touch()
    wait_until(lambda: False)


def stay_if(task: tuple[Path, int]) -> int:
    """End at once for 0, and stay for others."""
    folder, number = task
    if number:
        stay(folder)
    return number


def die_when_told(task: tuple[Path, int, int, int]) -> int:
    """Note that a task has begun; one ends its process when told, so many times."""
    folder, number, deadly, times = task
    with (folder / f"{number}").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if number == deadly and len((folder / f"{number}").read_text().split()) <= times:
        wait_until((folder / "go").exists)
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def lead(chat: Chat) -> None:
    """A case that says how often it was led."""
    with (Path(os.environ["MULLAMA_TEST_FOLDER"]) / "calm").open("a") as file:
        file.write(f"{os.getpid()}\n")
    chat.ask("And then?", max_tokens=4)


def lead_to_death(chat: Chat) -> None:
    """A case that ends its process within an answer, the first time, when told."""
    folder = Path(os.environ["MULLAMA_TEST_FOLDER"])
    with (folder / "deadly").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if len((folder / "deadly").read_text().split()) == 1:
        wait_until((folder / "go").exists)
        chat.ask("And then?", max_tokens=4, on_token=lambda _: os.kill(os.getpid(), signal.SIGKILL))
    chat.ask("And then?", max_tokens=4)
