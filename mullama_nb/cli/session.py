"""``mullama-nb session``: sessions and chats saved under names."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from ..errors import MullamaError, ParameterError, SessionNotFoundError, shown
from ..size import size
from .console import note, speaking_plainly
from .listing import as_dict, print_sessions
from .models import complete_model, limit_options, own_template
from .paths import NewFile

if TYPE_CHECKING:
    from ..sessions.listing import StoredSession
    from ..sessions.store import SessionStore

__all__ = ["session"]

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the sessions; the user's data folder by default.",
)
def session(*, folder: Path | None) -> None:
    """Manage saved sessions and chats.

    Chats that are saved after every turn, in a notebook or a terminal, are listed as of their last
    turn, and marked as live while their process runs.
    """
    del folder  # a command opens the store, if it is not asked for its help alone


def _pass_store(command: F) -> F:
    """Hand the store in the group's folder to a command."""

    @functools.wraps(command)
    def take(*values: Any, **options: Any) -> Any:
        group = click.get_current_context().parent
        return command(_store(group), *values, **options)

    return cast(F, take)


def _store(group: click.Context | None) -> SessionStore:
    from ..sessions.store import SessionStore

    return SessionStore(None if group is None else group.params.get("folder"))


def _complete_name(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    try:
        names = _store(context.parent).names()
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]
    except MullamaError:
        return []


_name = click.argument("name", shell_complete=_complete_name)
_names = click.argument("names", nargs=-1, shell_complete=_complete_name)
_url = click.argument("url")
_model = click.option(
    "--model", shell_complete=complete_model, help="The model, if it is not found by its name."
)


_take_over = click.option(
    "--take-over", is_flag=True, help="Even if a running process saves its chat there."
)


@session.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.option("--all", "earlier", is_flag=True, help="Also earlier versions, which gc removes.")
@_pass_store
def list_(store: SessionStore, *, as_json: bool, earlier: bool) -> None:
    """List the sessions."""
    with speaking_plainly():
        entries = store.entries(earlier=earlier)
        print_sessions(entries, as_json=as_json, versions=earlier)
        damaged = sorted({*store.names()} - {entry.name for entry in entries if entry.is_current})
    if damaged:
        note(f"damaged, as session verify says: {', '.join(damaged)}")


@session.command()
@_name
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@_pass_store
def show(store: SessionStore, name: str, *, as_json: bool) -> None:
    """Show the details of a session."""
    with speaking_plainly():
        described = as_dict(store.info(name))
    if as_json:
        click.echo(json.dumps(described, ensure_ascii=False))
        return
    for key, value in described.items():
        shown = size(value) if key.endswith("bytes") else "" if value is None else value
        click.echo(f"{key.replace('_', ' '):15}{shown}")


@session.command()
@_name
@click.option("--of", "source", shell_complete=_complete_name, help="The chat to copy.")
@_pass_store
def save(store: SessionStore, name: str, *, source: str | None) -> None:
    """Copy the present state of a live chat to NAME."""
    with speaking_plainly():
        store.copy(source or _live(store).name, name)
        note(f"kept as {name}")


@session.command()
@_name
@_model
@limit_options
@_pass_store
def load(store: SessionStore, /, name: str, *, model: str | None, **limits: int | None) -> None:
    """Continue a session interactively."""
    from .interactive import Conversation
    from .opening import opened

    with speaking_plainly():
        Conversation(opened(store, name, model), limits).hold()


@session.command()
@click.argument("names", nargs=-1, required=True, shell_complete=_complete_name)
@_take_over
@_pass_store
def delete(store: SessionStore, names: tuple[str, ...], *, take_over: bool) -> None:
    """Delete sessions with their versions and data of their own."""
    with speaking_plainly():
        for name in names:
            store.delete(name, take_over=take_over)
            note(f"deleted {name}")


@session.command()
@_name
@click.argument("new_name")
@_take_over
@_pass_store
def rename(store: SessionStore, name: str, new_name: str, *, take_over: bool) -> None:
    """Rename a session."""
    with speaking_plainly():
        store.rename(name, new_name, take_over=take_over)


@session.command()
@_name
@click.option("--version", type=click.IntRange(min=1), help="As in list --all; default: latest.")
@_take_over
@_pass_store
def restore(store: SessionStore, name: str, *, version: int | None, take_over: bool) -> None:
    """Restore an earlier version, and keep the present one as another."""
    with speaking_plainly():
        store.restore(name, version, take_over=take_over)
        note(f"{name} is version {store.info(name).version} again")


@session.command()
@_name
@click.argument("path", type=NewFile(), required=False)
@click.option(
    "--window-only",
    is_flag=True,
    help="Leave out rows outside a sliding window: for a llama-server without --swa-full.",
)
@_model
@_pass_store
def export(
    store: SessionStore, name: str, path: Path | None, *, model: str | None, window_only: bool
) -> None:
    """Write a session to one file, which llama.cpp loads, too."""
    from .opening import opened

    with speaking_plainly():
        path = Path(f"{name}.session") if path is None else path
        info = opened(store, name, model).context.save_session(path, window_only=window_only)
        note(f"{info.n_tokens:,} tokens written to {path.name}, {size(info.n_bytes)}")


@session.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("name", required=False)
@_model
@_pass_store
def add(store: SessionStore, path: Path, name: str | None, *, model: str | None) -> None:
    """Add a session file to the store."""
    from ..sessions.manager import SessionManager
    from ..state.session_info import inspect_session
    from .opening import loaded_model, parameters

    with speaking_plainly():
        info = inspect_session(path)
        loaded = loaded_model(info.model, model)
        params = parameters(info.settings, info.n_ctx or max(info.n_tokens, 512))
        entry = SessionManager(loaded, store.folder, params).add(path, name)
        note(f"added {entry.name}, {entry.n_tokens:,} tokens")


@session.command("import")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@_name
@_model
@click.option("--index", type=click.IntRange(min=0), help="Which conversation, if there are more.")
@click.option("--n-ctx", type=click.IntRange(min=1), help="Cells of the context.")
@_pass_store
def import_(
    store: SessionStore,
    path: Path,
    name: str,
    *,
    model: str | None,
    index: int | None,
    n_ctx: int | None,
) -> None:
    """Make a chat from a file of messages.

    It is a chat exported as JSON, or in the form of OpenAI or ShareGPT.

    Every branch becomes a branch; all messages are evaluated.
    """
    from ..history.chat import Chat
    from ..history.transcripts.file import read_transcripts
    from .opening import loaded_model

    with speaking_plainly():
        made_with = None if model is not None else read_transcripts(path)[0].model
        loaded = loaded_model(made_with, model)
        chat = Chat.from_transcript(
            loaded, path, index=index, n_ctx=n_ctx, chat_template=own_template(loaded)
        )
        chat.save(name, store.folder)
        n = len(chat.tree)
        note(f"imported {name}, {n} checkpoint{'s' * (n != 1)}")


@session.command()
@_url
@_names
@_pass_store
def push(store: SessionStore, url: str, names: tuple[str, ...]) -> None:
    """Push sessions to a store elsewhere.

    URL is a folder, or a bucket such as s3://bucket/class.

    Without NAMES all are pushed. Only what is missing there travels.
    """
    with speaking_plainly():
        note(f"pushed {store.push(url, names or None)}")


@session.command()
@_url
@_names
@click.option("--replace", is_flag=True, help="Keep what was changed here as an earlier version.")
@_pass_store
def pull(store: SessionStore, url: str, names: tuple[str, ...], *, replace: bool) -> None:
    """Pull sessions from a store elsewhere.

    URL is a folder, or a bucket such as s3://bucket/class.

    Without NAMES all that are there are pulled. Only what is missing here travels.
    """
    with speaking_plainly():
        note(f"pulled {store.pull(url, names or None, replace=replace)}")


@session.command()
@_pass_store
def verify(store: SessionStore) -> None:
    """Read all stored data and report damage."""
    with speaking_plainly():
        damages = store.verify()
    for damage in damages:
        click.echo(f"{', '.join(map(shown, damage.names))}: {damage.why}")
    if damages:
        raise click.exceptions.Exit(1)
    note(f"{len(store.names())} sessions are sound")


@session.command()
@_pass_store
def gc(store: SessionStore) -> None:
    """Remove earlier versions, and data that no session needs."""
    with speaking_plainly():
        note(f"{size(store.gc())} became free")


def _live(store: SessionStore) -> StoredSession:
    live = [entry for entry in store.entries() if entry.is_live]
    if not live:
        raise SessionNotFoundError("no chat is live; name one with --of")
    if len(live) > 1:
        names = ", ".join(entry.name for entry in live)
        raise ParameterError(f"more than one chat is live: name one of {names} with --of")
    return live[0]
