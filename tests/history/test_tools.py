"""Python functions as tools: how they are described, and run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from template_models import make_template_model

from mullama_nb import Chat, Model
from mullama_nb.errors import ParameterError, SessionMismatchError, ToolWarning
from mullama_nb.history.tools import Tools, schema_of
from mullama_nb.testing import record, record_again, replay

FOLDER = Path(__file__).parents[1] / "templates"


def tide_at(place: str, hours: int = 0, unit: Literal["m", "ft"] = "m") -> str:
    """Return when high water is.

    It is only known for harbours.

    Parameters
    ----------
    place : str
        A town
        with a harbour.
    hours : int, optional
        From now.
    unit : {"m", "ft"}
        Of heights.

    Returns
    -------
    str
        A time.
    """
    return f"noon at {place}, {hours} {unit}"


def boats(names: list[str], fast: bool | None = None) -> dict[str, Any]:
    """Count boats.

    Args:
        names (list): Of boats,
            all of them.
        fast: Whether fast ones.

    Returns:
        dict: The count.
    """
    return {"n": len(names), "fast": fast}


def sinks(depth: float) -> None:
    """Fail."""
    raise ValueError(f"too deep: {depth}")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    source = (FOLDER / "qwen3_thoughts.jinja").read_text("utf-8")
    return Model.load(make_template_model(tmp_path_factory.mktemp("m") / "m.gguf", source))


@pytest.fixture
def chat(model: Model) -> Iterator[Chat]:
    made = Chat(model, n_ctx=2048, n_threads=1, tools=[tide_at, boats, sinks])
    made.ask("When is high water?", max_tokens=2)
    yield made
    made.context.close()


def calls(*named: tuple[str, str]) -> str:
    block = '<tool_call>\n{{"name": "{}", "arguments": {}}}\n</tool_call>'
    return "\n".join(block.format(*each) for each in named)


def called(chat: Chat, *named: tuple[str, str], **options: Any) -> Any:
    """Let the last answer call tools, and run them."""
    return chat.edit(
        calls(*named), chat.turns[-1], **{"run_tools": True, "max_tokens": 3, **options}
    )


def results(chat: Chat) -> list[str]:
    return [message["content"] for message in chat.messages if message["role"] == "tool"]


def test_a_function_is_described_by_what_it_says_of_itself() -> None:
    function = schema_of(tide_at)["function"]
    assert function["name"] == "tide_at"
    assert function["description"] == "Return when high water is."
    assert function["parameters"] == {
        "type": "object",
        "properties": {
            "place": {"type": "string", "description": "A town with a harbour."},
            "hours": {"type": "integer", "description": "From now."},
            "unit": {"enum": ["m", "ft"], "description": "Of heights."},
        },
        "required": ["place"],
    }
    properties = schema_of(boats)["function"]["parameters"]["properties"]
    assert properties == {
        "names": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Of boats, all of them.",
        },
        "fast": {"type": "boolean", "description": "Whether fast ones."},
    }


def test_calls_are_run_and_answered(chat: Chat, model: Model, tmp_path: Path) -> None:
    turn = called(chat, ("tide_at", '{"place": "Hull"}'), ("boats", '{"names": ["a", "b"]}'))
    assert [message["role"] for message in chat.messages] == [
        *("user", "assistant", "tool", "tool", "assistant")
    ]
    assert results(chat) == ["noon at Hull, 0 m", '{"n": 2, "fast": null}']
    assert turn.checkpoint is chat.head
    assert len({turn.checkpoint.id for turn in chat.turns if turn.index is None}) == 5
    ids = [call.id for call in chat.turns[1].tool_calls]
    assert [message["tool_call_id"] for message in chat.messages[2:4]] == ids
    edited = chat.edit("midnight", chat.turns[2], max_tokens=2)
    assert [message["content"] for message in chat.messages[2:3]] == ["midnight"]
    chat.checkout(turn)
    assert edited.checkpoint not in chat.tree.path()
    assert results(chat)[0] == "noon at Hull, 0 m"
    chat.save("tools", tmp_path)
    opened = Chat.open("tools", model, tmp_path)
    assert opened.messages == chat.messages
    with pytest.raises(ParameterError, match=r"Chat\.open"):
        opened.ask("And now?", run_tools=True)
    again = Chat.open("tools", model, tmp_path, tools=[tide_at, boats, sinks])
    called(again, ("tide_at", '{"place": "York"}'))
    assert results(again)[-1] == "noon at York, 0 m"
    with pytest.raises(SessionMismatchError, match="'boats', 'sinks'"):
        Chat.open("tools", model, tmp_path, tools=[tide_at])
    record(chat, tmp_path / "tools.mullama.json")  # results are replayed, not run
    assert replay(tmp_path / "tools.mullama.json", model, "exact").is_identical


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("sinks", '{"depth": 3}', "error: ValueError: too deep: 3"),
        ("swims", "{}", "error: there is no tool 'swims'; there are: 'tide_at', 'boats', 'sinks'"),
        ("tide_at", "{}", "missing a required argument: 'place'"),
        ("tide_at", '{"place": "Hull", "depth": 1}', "unexpected keyword argument 'depth'"),
        ("tide_at", '{"place": 7}', "'place' must be string, not 7"),
        ("tide_at", '{"place": "Hull", "unit": "mile"}', "'unit' must be one of ['m', 'ft']"),
        ("boats", '{"names": ["a", 3]}', "'names' must be array"),
    ],
)
def test_what_goes_wrong_is_told(chat: Chat, name: str, arguments: str, told: str) -> None:
    with pytest.warns(ToolWarning, match=name):
        called(chat, (name, arguments))
    assert told in results(chat)[0]


def test_no_more_calls_than_allowed(chat: Chat) -> None:
    two = (("tide_at", '{"place": "Hull"}'), ("tide_at", '{"place": "York"}'))
    with pytest.warns(ToolWarning, match="allows 1: none"):
        turn = called(chat, *two, run_tools=1)
    assert (len(turn.tool_calls), results(chat)) == (2, [])
    for wrong in (-1, 1.5, "3"):
        with pytest.raises(ParameterError, match="run_tools"):
            chat.ask("?", run_tools=wrong)


def test_what_was_not_handed_over_does_not_run(model: Model) -> None:
    schema = schema_of(tide_at)
    chat = Chat(model, n_ctx=1024, n_threads=1, tools=[schema, boats])
    chat.ask("When?", max_tokens=2)
    turn = called(chat, ("tide_at", '{"place": "Hull"}'))
    assert turn.tool_calls[0].arguments == {"place": "Hull"}
    assert results(chat) == []
    assert chat.edit(calls(("boats", '{"names": []}')), chat.turns[-1]).tool_calls
    assert results(chat) == []  # nobody asked to run it


def test_an_interrupt_in_a_tool_keeps_what_there_is(model: Model) -> None:
    def stops() -> None:
        """Be interrupted."""
        raise KeyboardInterrupt

    chat = Chat(model, n_ctx=1024, n_threads=1, tools=[tide_at, stops])
    chat.ask("When?", max_tokens=2)
    with pytest.raises(KeyboardInterrupt):
        called(chat, ("tide_at", '{"place": "Hull"}'), ("stops", "{}"))
    assert results(chat) == ["noon at Hull, 0 m"]
    assert [call.name for call in chat.turns[1].tool_calls] == ["tide_at", "stops"]
    chat.ask("Go on.", max_tokens=2)


@pytest.mark.parametrize(
    ("tools", "why"),
    [
        (tide_at, "list"),
        ([3], "functions or schemas"),
        ([tide_at, tide_at], "two tools"),
        ([lambda place: place], "needs a name"),
        ([len], "position alone"),
    ],
)
def test_what_is_no_tool_is_refused(tools: Any, why: str) -> None:
    with pytest.raises(ParameterError, match=why):
        Tools(tools)


def test_a_function_may_be_described_in_other_ways() -> None:
    def plain(a, b=2, *rest, **more):  # type: ignore[no-untyped-def]
        pass

    parameters = schema_of(plain)["function"]["parameters"]
    assert parameters == {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]}
    function: Callable[..., Any] = schema_of
    assert schema_of(function)["function"]["name"] == "schema_of"


# -- calls that follow the schemas -----------------------------------------------------------

HOT: dict[str, Any] = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def hails(place: Literal["Hull", "York"], times: int = 1) -> str:
    """Hail a harbour."""
    return f"{place}!" * times


@pytest.fixture
def caller(model: Model) -> Iterator[Chat]:
    """Its model opens calls again and again."""
    (mark,) = model.tokenize("<tool_call>", special=True)
    made = Chat(model, n_ctx=2048, n_threads=1, tools=[hails], logit_bias={mark: 24.0}, **HOT)
    yield made
    made.context.close()


def checked(turns: Iterable[Any]) -> int:
    """Check the calls that are complete, and return their number."""
    n = 0
    for turn in turns:
        for call in turn.tool_calls:
            if call.raw.endswith("</tool_call>"):
                n += 1
                assert (call.name, call.error) == ("hails", None)
                assert Tools([hails]).run(call) == call.arguments["place"] + "!" or call.arguments
    return n


@pytest.mark.slow
def test_calls_are_well_formed_however_hot(caller: Chat, model: Model, tmp_path: Path) -> None:
    turns = [caller.ask("Hail.", max_tokens=90, seed=seed) for seed in range(3)]
    turns += caller.explore("Hail both.", n=3, max_tokens=60, seed=7)
    assert checked(turns) >= 3
    assert turns[0].checkpoint.metadata.call_grammar
    for path in ("calls.mullama.json", "again.mullama.json"):
        record(caller, tmp_path / path)
        assert replay(tmp_path / path, model, "exact").is_identical
    record_again(tmp_path / "again.mullama.json", model)
    assert replay(tmp_path / "again.mullama.json", model, "exact").is_identical


@pytest.mark.slow
def test_a_call_goes_on_within(caller: Chat, model: Model, tmp_path: Path) -> None:
    whole = caller.ask("Hail.", max_tokens=80, seed=2)
    for n in (1, 2, 5, 11, 17, 23):
        (mark,) = caller.model.tokenize("<tool_call>", special=True)
        chat = Chat(model, n_ctx=2048, n_threads=1, tools=[hails], logit_bias={mark: 24.0}, **HOT)
        cut = chat.ask("Hail.", max_tokens=n, seed=2)
        if n == 11:
            chat.save("calls", tmp_path)
        rest = chat.resume(max_tokens=len(whole.tokens) - n, seed=2)
        assert rest.tokens == whole.tokens
        assert len(cut.tokens) == n
        assert checked([rest]) == checked([whole]) > 0
        record(chat, tmp_path / "within.mullama.json")
        assert replay(tmp_path / "within.mullama.json", model, "exact").is_identical
        if n == 11:
            opened = Chat.open("calls", model, tmp_path, tools=[hails])
            assert opened.resume(max_tokens=len(whole.tokens) - n, seed=2).raw == whole.raw
        chat.context.close()


def test_a_call_that_was_begun_by_hand_goes_on_well_formed(caller: Chat, tmp_path: Path) -> None:
    begun = [
        {"role": "user", "content": "Hail."},
        {"role": "assistant", "content": '<tool_call>\n{"name": "ha'},
    ]
    for exact in (True, False):
        turns = caller.explore(begun, n=3, max_tokens=50, exact=exact, seed=4)
        assert checked(turns) >= 1
        assert all(turn.raw.startswith('<tool_call>\n{"name": "hails"') for turn in turns)
    record(caller, tmp_path / "begun.mullama.json")
    assert replay(tmp_path / "begun.mullama.json", caller.model, "exact").is_identical
    unfit = [begun[0], {"role": "assistant", "content": '<tool_call>\n{"title": "ha'}]
    assert caller.ask(unfit, max_tokens=5).raw.startswith(unfit[1]["content"])  # it just goes on


def test_a_grammar_of_ones_own_comes_before_that_of_calls(caller: Chat) -> None:
    turn = caller.ask("Hail.", max_tokens=20, grammar='root ::= "<tool_call>" "no"')
    assert turn.raw.endswith("<tool_call>no")
    assert not turn.checkpoint.metadata.call_grammar
