"""What takes a list or a mapping refuses anything else when given, with an error that says so."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_adapters import write_control_vector
from tiny_models import CHATML

import mullama_nb
from mullama_nb import (
    Chat,
    Context,
    ContextParams,
    ControlVector,
    MullamaError,
    SamplingParams,
    SessionManager,
    plots,
    steering,
    testing,
    widgets,
)
from mullama_nb.checks import check_list
from mullama_nb.errors import ParameterError

Call = Callable[..., object]

TAKES = re.compile(
    r"\b(Sequence|Mapping|Iterable|tuple|list|dict|Prompt|Said|Message|ArrayLike|NDArray)\b"
)
# They are made by what reads, opens or answers, and nobody writes their fields.
MADE = {
    *("Checkpoint", "Completion", "Look", "SessionInfo", "Token", "TokenProbability", "Turn"),
    *("testing.Check", "testing.CheckResult", "testing.CheckpointReport", "testing.Finding"),
    *("testing.MovedAnswer", "testing.Quality", "testing.Recording", "testing.Replay"),
    *("testing.ReplayResults", "testing.Report", "testing.Subject", "testing.SuiteAnswer"),
    *("testing.SuiteCell", "testing.SuiteComparison", "testing.SuiteResult", "steering.Effect"),
}
INNER = {"ControlVector.as_saved", "testing.Quality.of"}  # for who reads files
SMALL: dict[str, Any] = {"n_ctx": 256, "n_threads": 1, "n_threads_batch": 1}
ONE: dict[str, Any] = {"max_tokens": 1}
SAID = [{"role": "user", "content": "Hi"}]

# Nothing that takes a list, a mapping or a text takes one of these.
scalars = st.one_of(
    *(st.integers(), st.floats(), st.booleans(), st.complex_numbers(), st.builds(object)),
    st.binary(max_size=2),
)
lists = st.lists(st.builds(object), min_size=1, max_size=2)


def functions(module: ModuleType, prefix: str) -> Iterator[tuple[str, Call]]:
    """What is public in a module, with the methods of its classes."""
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value):
            if issubclass(value, (BaseException, str)):
                continue
            if f"{prefix}{name}" not in MADE:
                yield f"{prefix}{name}", value
            if module is widgets:  # what views and threads call is not for users
                continue
            for member, function in inspect.getmembers(value, callable):
                if not member.startswith("_"):
                    yield f"{prefix}{name}.{member}", function
        elif callable(value):
            yield f"{prefix}{name}", value


def takers() -> dict[str, list[str]]:
    """Functions with their parameters that take a list or a mapping."""
    found: dict[str, list[str]] = {}
    modules = {"": mullama_nb, "testing.": testing, "plots.": plots, "steering.": steering}
    for prefix, module in (modules | {"widgets.": widgets}).items():
        for name, function in functions(module, prefix):
            is_ours = (getattr(function, "__module__", None) or "").startswith("mullama_nb")
            if not is_ours or name in INNER:
                continue
            for parameter in inspect.signature(function).parameters.values():
                is_one = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
                is_one &= not parameter.name.startswith("_")
                if is_one and TAKES.search(str(parameter.annotation)):
                    found.setdefault(name, []).append(parameter.name)
    return found


def run(function: Callable[..., Any]) -> Call:
    """A coroutine function, as one that is called."""
    return lambda **options: asyncio.run(function(**options))


async def _first(chat: Chat, **options: Any) -> object:
    return await anext(chat.astream(**options))


@pytest.fixture(scope="module")
def chat(tiny: ModelMaker) -> Chat:
    chat = Chat(tiny(chat_template=CHATML), max_bytes=10**7, **SMALL)
    chat.ask("Why?", max_tokens=2, echo=False)
    return chat


@pytest.fixture(scope="module")
def calls(chat: Chat, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Call]:
    """Each with all that it needs, and no more."""
    folder, model = tmp_path_factory.mktemp("types"), chat.model
    context = Context(model, ContextParams(**SMALL))
    context.evaluate("abc")
    context.save_session(folder / "one.session")
    chat.save("saved", folder)
    chat.save("kept", folder)
    chat.export(folder / "chat.json")
    chat.save_session(folder / "chat.session")
    testing.record(chat, folder / "a.mullama.json")
    recording = folder / "a.mullama.json"
    SessionManager(model, folder).push(folder / "elsewhere")
    segment = context.capture()
    suite = testing.Suite([testing.Case("Why?")], [model])
    ways = steering.Steering(np.eye(model.n_layers, model.n_embd, -1, dtype=np.float32))
    style = write_control_vector(folder / "style.gguf", ways.directions)
    ask: dict[str, Any] = {**ONE, "echo": False}
    forked: dict[str, Any] = {"turn": "HEAD", "token": 0, **ask}
    return {
        "Chat": partial(Chat, model, **SMALL),
        "Chat.aask": run(partial(chat.aask, message="Hi", **ask)),
        "Chat.aexplore": run(partial(chat.aexplore, message="Hi", n=1, **ONE)),
        "Chat.ask": partial(chat.ask, message="Hi", **ask),
        "Chat.astream": run(partial(_first, chat, message="Hi", **ask)),
        "Chat.count_tokens": partial(chat.count_tokens, message="Hi"),
        "Chat.edit": partial(chat.edit, text="Hi", **ask),
        "Chat.explore": partial(chat.explore, message="Hi", n=1, **ONE),
        "Chat.fork": partial(chat.fork, **forked),
        "Chat.from_messages": partial(Chat.from_messages, model, messages=SAID, **SMALL),
        "Chat.from_transcript": partial(Chat.from_transcript, model, folder / "chat.json", **SMALL),
        "Chat.load_session": partial(chat.load_session, folder / "chat.session"),
        "Chat.open": partial(Chat.open, "saved", model, folder),
        "Chat.open_or_create": partial(Chat.open_or_create, "kept", model, folder, **SMALL),
        "Chat.regenerate": partial(chat.regenerate, **ask),
        "Chat.replay": partial(chat.replay, messages=SAID),
        "Chat.resume": partial(chat.resume, **ask),
        "Chat.steps": lambda **options: chat.steps(**{"message": "Hi", **ask, **options}).finish(),
        "CheckpointTree.commit": partial(chat.tree.commit),
        "Context": partial(Context, model, ContextParams(**SMALL)),
        "Context.aevaluate": run(context.aevaluate),
        "Context.agenerate": run(partial(context.agenerate, max_tokens=1)),
        "Context.aload_session": run(partial(context.aload_session, folder / "one.session")),
        "Context.astream": partial(context.astream, max_tokens=1),
        "Context.continuations": partial(context.continuations, 1),
        "Context.evaluate": context.evaluate,
        "Context.exploration": partial(context.exploration, 1, 1),
        "Context.explore": partial(context.explore, 1, 1),
        "Context.generate": partial(context.generate, max_tokens=1),
        "Context.load_session": partial(context.load_session, folder / "one.session"),
        "Context.restore": partial(context.restore, segments=segment),
        "Context.score": partial(context.score, continuation="a"),
        "Context.stream": partial(context.stream, max_tokens=1),
        "ContextParams": ContextParams,
        "ContextParams.with_changes": ContextParams().with_changes,
        "ControlVector": partial(ControlVector, style),
        "ControlVector.from_array": partial(ControlVector.from_array, directions=ways.directions),
        "Model.apply_chat_template": partial(model.apply_chat_template, messages=SAID),
        "Model.detokenize": partial(model.detokenize, tokens=[1]),
        "Model.find_chat_template": model.find_chat_template,
        "SamplingParams": SamplingParams,
        "SamplingParams.with_changes": SamplingParams().with_changes,
        "SessionManager": partial(SessionManager, model, folder),
        "SessionManager.pull": partial(SessionManager(model, folder).pull, folder / "elsewhere"),
        "SessionManager.push": partial(SessionManager(model, folder).push, folder / "elsewhere"),
        "plots.kv_sizes": partial(plots.kv_sizes, model, n_ctx=[64], types=["f16"]),
        "steering.Steering": partial(steering.Steering, directions=ways.directions),
        "steering.Steering.effect": partial(
            ways.effect, model, prompt="a", continuations=["b"], scales=[1]
        ),
        "steering.contrast": partial(steering.contrast, model, plus=["a"], minus=["b"]),
        "testing.Case": partial(testing.Case, said="Why?"),
        "testing.Suite": partial(testing.Suite, cases=[testing.Case("Why?")], models=[model]),
        "testing.Suite.run": partial(suite.run, progress=False),
        "testing.Suite.tasks": suite.tasks,
        "testing.json_schema": partial(testing.json_schema, schema={}),
        "testing.kv_quality": partial(testing.kv_quality, kv_cache_type="q8_0"),
        "testing.likelier": partial(testing.likelier, " a", than=" b"),
        "testing.record_again": partial(testing.record_again, recording, model),
        "testing.replay": partial(testing.replay, recording, model),
        "testing.replay_all": partial(testing.replay_all, paths=[recording], model=model),
    }


TAKERS = takers()


def test_all_that_take_one_are_called(calls: dict[str, Call]) -> None:
    assert calls.keys() == TAKERS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", TAKERS)
@settings(max_examples=2)
@given(values=st.tuples(scalars, lists))
@example(values=(b"", 0))  # as false as nothing
def test_other_values_are_refused_when_given(
    calls: dict[str, Call], chat: Chat, name: str, values: tuple[Any, ...]
) -> None:
    before = len(chat.tree), chat.head, chat.context.tokens
    for parameter in TAKERS[name]:
        for value in values:
            if parameter == "json_schema" and value is True:
                continue  # it is one, of anything
            with pytest.raises(MullamaError) as caught:
                calls[name](**{parameter: value})
            assert len(str(caught.value)) < 500
    assert (len(chat.tree), chat.head, chat.context.tokens) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", TAKERS)
def test_without_them_the_call_is_taken(calls: dict[str, Call], name: str) -> None:
    """So that the errors above are those of the values."""
    calls[name]()


@settings(max_examples=20)
@given(values=st.lists(st.integers() | st.text()))
@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_lists_and_what_is_like_them_are_taken(
    kind: Callable[[list[Any]], Any], values: list[Any]
) -> None:
    assert check_list("stop", kind(values), "texts") == values


@given(value=scalars | st.text() | st.dictionaries(st.text(), st.integers()))
def test_what_is_no_list_is_named(value: object) -> None:
    with pytest.raises(ParameterError) as caught:
        check_list("stop", value, "texts")
    assert re.fullmatch(r"stop=.* must be a list of texts", str(caught.value))


def test_an_array_of_no_dimensions_is_no_list() -> None:
    with pytest.raises(ParameterError, match=r"^stop=array\(3\) must be a list of texts$"):
        check_list("stop", np.array(3), "texts")
