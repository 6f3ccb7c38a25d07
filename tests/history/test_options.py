"""Options of chats: listed one by one where Tab and Shift-Tab look, and refused at once."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from shells import open_shell

import mullama_nb
from mullama_nb import Chat, Context, ContextParams, Model, SamplingParams, testing
from mullama_nb.engine import options as of_engine
from mullama_nb.engine.completion import Limits
from mullama_nb.history import options as of_history
from mullama_nb.history.options import pick

pytestmark = pytest.mark.usefixtures("main_module")

CONTEXT = [field.name for field in dataclasses.fields(ContextParams)]
SAMPLING = [field.name for field in dataclasses.fields(SamplingParams)]
LIMITS = ["max_tokens", "stop", "stop_tokens", "reasoning_budget"]

ANSWERS = ["ask", "regenerate", "edit", "resume", "fork", "aask"]
LISTED: dict[str, list[str]] = {
    **{f"Chat.{name}": [*LIMITS, *SAMPLING, "echo", "on_token"] for name in ANSWERS},
    "Chat.astream": [*LIMITS, *SAMPLING, "echo"],
    "Chat.explore": [*LIMITS, "exact", "on_token", *SAMPLING],
    "Chat.aexplore": [*LIMITS, "exact", "on_token", *SAMPLING],
    "Chat": ["tools", "max_bytes", *CONTEXT, *SAMPLING, *LIMITS],
    "Chat.from_messages": ["max_bytes", "system", "tools", *CONTEXT, *SAMPLING, *LIMITS],
    "Chat.from_transcript": ["index", "max_bytes", "system", "tools", *CONTEXT, *SAMPLING, *LIMITS],
    "Chat.open": ["max_bytes", *CONTEXT, *SAMPLING, *LIMITS],
    "Chat.open_or_create": ["system", "tools", "max_bytes", *CONTEXT, *SAMPLING, *LIMITS],
    "testing.replay": CONTEXT,
    "testing.record_again": CONTEXT,
    "testing.Case": [*LIMITS, *SAMPLING],
}
# Notes have names of the user's choice, chat templates variables of their authors', and what an
# executor calls has parameters of its own.
OPEN = {
    "CheckpointTree.commit": "metadata",
    "CheckpointTree.fork": "metadata",
    "Model.apply_chat_template": "variables",
    "SpawnedPool.submit": "kwargs",
}


def place(name: str) -> Callable[..., Any]:
    found: Any = mullama_nb
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found)
    return found


@pytest.mark.parametrize("name", LISTED)
def test_a_signature_lists_options_by_name(name: str) -> None:
    parameters = inspect.signature(place(name)).parameters
    keywords = [n for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY]
    assert set(LISTED[name]) <= set(keywords)
    for option in LISTED[name]:
        assert parameters[option].default is not inspect.Parameter.empty
        assert parameters[option].annotation is not inspect.Parameter.empty


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    for module, prefix in ((mullama_nb, ""), (testing, "testing.")):
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value):
                yield f"{prefix}{name}", value
            if inspect.isclass(value):
                for member, function in inspect.getmembers(value, callable):
                    if not member.startswith("_"):
                        yield f"{prefix}{name}.{member}", function


def test_nothing_public_hides_what_it_takes() -> None:
    hiding = {}
    for name, function in public():
        if not (getattr(function, "__module__", None) or "").startswith("mullama_nb"):
            continue  # of exceptions and texts
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                hiding[name] = parameter.name
    assert hiding == OPEN


@pytest.mark.parametrize(
    "name",
    [name for name in LISTED if name not in ("Chat", "Chat.aask", "Chat.aexplore", "testing.Case")]
    + [
        "Chat.__init__",
        "testing.Case.__init__",
        "Context.generate",
        "Context.stream",
        "Context.explore",
    ],
)
def test_types_and_signature_tell_of_the_same_options(name: str) -> None:
    function = inspect.unwrap(getattr(place(name), "__func__", place(name)))
    (kind,) = (
        match[1]
        for annotation in function.__annotations__.values()
        if (match := re.fullmatch(r"Unpack\[(\w+)\]", str(annotation)))
    )
    typed = getattr(of_history, kind, None) or getattr(of_engine, kind)
    written = set(function.__code__.co_varnames[: function.__code__.co_argcount])
    written |= set(function.__kwdefaults__ or ())
    listed = set(inspect.signature(function).parameters) - written - {"token"}
    assert listed == set(typed.__annotations__)


def test_defaults_are_said_where_there_are_some() -> None:
    made = inspect.signature(Chat).parameters
    assert {name: made[name].default for name in SAMPLING} == vars(SamplingParams())
    assert {name: made[name].default for name in LIMITS} == pick(vars(Limits()), LIMITS)
    shown = {name: made[name].default for name in CONTEXT}
    assert shown == vars(ContextParams()) | {"n_ctx": "up to 4,096"}
    assert "n_ctx: 'int | None' = <up to 4,096>" in str(inspect.signature(Chat))

    answer = str(inspect.signature(Chat.ask))  # a chat has its own sampling, so no value is said
    assert "temperature: 'float' = <unchanged>" in answer
    assert "max_tokens: 'int | None' = <unchanged>" in answer
    assert "stop: 'str | Sequence[str]' = <unchanged>" in answer


@pytest.fixture
def shell(chat: Chat, tmp_path: Path) -> Iterator[InteractiveShell]:
    with open_shell(tmp_path) as shell:
        shell.user_ns |= {"Chat": Chat, "chat": chat}
        yield shell


@pytest.mark.slow
@pytest.mark.parametrize("use_jedi", [True, False])
@pytest.mark.parametrize(
    ("code", "options"),
    [
        ('chat.ask("x", te', {"temperature="}),
        ('chat.ask("x", ma', {"max_tokens="}),
        ("chat.regenerate(to", {"top_k=", "top_p="}),
        ('chat.edit("x", se', {"seed="}),
        ("chat.resume(ma", {"max_tokens="}),
        ('chat.fork("HEAD", token=3, js', {"json_schema="}),
        ('chat.explore("x", 4, st', {"stop=", "stop_tokens="}),
        ('await chat.aask("x", te', {"temperature="}),
        ('chat.context.generate("x", re', {"repetition_penalty="}),
        ('Chat("x", n_b', {"n_batch="}),
        ('Chat("x", gr', {"grammar="}),
        ('Chat.open("x", kv', {"kv_cache_type="}),
    ],
)
def test_tab_offers_options(
    shell: InteractiveShell, code: str, options: set[str], use_jedi: bool
) -> None:
    shell.Completer.use_jedi = use_jedi
    with provisionalcompleter():
        offered = {found.text for found in shell.Completer.completions(code, len(code))}
    assert options <= offered


@pytest.mark.slow
def test_shift_tab_shows_options(shell: InteractiveShell) -> None:
    shown = shell.object_inspect_text("chat.ask")
    assert "temperature: 'float' = <unchanged>" in re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert "Say something and get an answer." in shown


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # nothing changes it
@given(name=st.sampled_from(SAMPLING), at=st.integers(0, 20), letter=st.sampled_from("aeknqz_"))
def test_a_misspelt_option_is_refused_at_once(
    chat: Chat, chat_model: Model, name: str, at: int, letter: str
) -> None:
    misspelt = name[: at % len(name)] + letter + name[at % len(name) :]
    calls: list[Callable[..., object]] = [
        lambda **options: Chat("no-such-model", **options),
        lambda **options: Chat.from_messages("no-such-model", [], **options),
        lambda **options: Chat.open("no such chat", chat_model, "no such folder", **options),
        lambda **options: chat.ask("x", **options),
        chat.regenerate,
        lambda **options: chat.edit("x", **options),
        chat.resume,
        lambda **options: chat.fork("HEAD", token=0, **options),
        lambda **options: chat.explore("x", 2, **options),
        lambda **options: asyncio.run(chat.aask("x", **options)),
        lambda **options: chat.context.generate("x", **options),
        lambda **options: chat.context.stream("x", **options),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=rf"has no .*'{misspelt}'.*did you mean '\w+'"):
            call(**{misspelt: 1})
    assert chat.context.token_count() == 0


def test_opening_checks_options_before_it_looks_for_a_chat(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a saved chat has no 'sytem'"):
        Chat.open("no such chat", "no-such-model", tmp_path, sytem="Be brief.")  # type: ignore[call-arg]
    assert not list(tmp_path.iterdir())


def test_a_context_is_no_chat(chat: Chat) -> None:
    assert isinstance(chat.context, Context)
    with pytest.raises(TypeError, match="has no 'echo'"):
        chat.context.generate("x", echo=True)  # type: ignore[call-arg]
