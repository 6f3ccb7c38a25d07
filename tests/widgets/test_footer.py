"""What stands below the composer, and what it changes."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from javascript import FRONT_END, JavaScript
from shells import open_shell
from tiny_models import CHATML

from mullama_nb import Chat, SamplingParams
from mullama_nb.engine.completion import Limits
from mullama_nb.errors import ContextFullError, ParameterError
from mullama_nb.history.events import SettingsChanged
from mullama_nb.widgets import Timeline, UndoRedo
from mullama_nb.widgets.chat_panel import ChatPanel
from mullama_nb.widgets.chat_view import chat_view
from mullama_nb.widgets.footer import OPTIONS, Pace, remedies, set_option

FOOTER = FRONT_END / "footer.js"
MENU = FRONT_END / "option_menu.js"


@pytest.fixture
def chat(tiny: ModelMaker) -> Chat:
    model = tiny("llama", chat_template=CHATML)
    return Chat(model, n_ctx=96, n_threads=1, n_threads_batch=1)


@pytest.fixture
def panel(chat: Chat) -> Iterator[ChatPanel]:
    made = ChatPanel(chat)
    made.listen(False)  # what it hears is given to it here
    yield made
    made.close()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    with open_shell(tmp_path) as made:
        monkeypatch.setattr("IPython.get_ipython", lambda: made)
        yield made


def footer(panel: ChatPanel) -> dict[str, Any]:
    found: dict[str, Any] = panel.take_snapshot()["footer"]
    return found


def fail(panel: ChatPanel, action: str, **arguments: Any) -> str:
    """Have an action fail as a view asks for it; return what is shown."""
    panel._do(action, arguments)
    panel.publish()
    return panel.error


def test_the_cells_in_use_are_told_as_they_come(chat: Chat, panel: ChatPanel) -> None:
    assert (footer(panel)["used"], footer(panel)["n_ctx"]) == (0, 96)
    chat.ask("Hi", max_tokens=4)
    [change] = panel.changes([SettingsChanged()])
    assert change["footer"] == {"used": chat.context.token_count()}
    assert [c for c in panel.changes([SettingsChanged()]) if "footer" in c] == []


VALUES = {float: st.floats(0, 0.5) | st.integers(0, 1), int: st.integers(0, 100)}


@pytest.mark.slow
@given(st.sampled_from([*OPTIONS]).flatmap(lambda n: st.tuples(st.just(n), VALUES[OPTIONS[n]])))
def test_the_menus_set_the_chat_s_own(tiny: ModelMaker, option: tuple[str, float]) -> None:
    name, value = option
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=32, n_threads=1)
    if name == "repetition_penalty":
        value += 1
    set_option(chat, name, f" {value} ")
    assert {**vars(chat.sampling), **vars(chat.limits)}[name] == value
    set_option(chat, name, "")
    assert (chat.sampling, chat.limits) == (SamplingParams(), Limits())
    chat.context.close()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("temperature", "warm", "temperature must be a number, such as 0.8, not 'warm'"),
        ("temperature", "-1", "temperature=-1.0 is out of range"),
        ("temperature", "nan", "temperature=nan"),
        ("top_p", "1.5", "top_p=1.5 is out of range"),
        ("max_tokens", "1.5", "max_tokens must be a whole number, not '1.5'"),
        ("max_tokens", "-3", "max_tokens=-3 must be 0 or more"),
        ("top_k", "9" * 40, "top_k=9999"),
        ("seed", "x" * 900, "seed must be a whole number, not 'xxxx"),
        ("grammar", "root", "no option 'grammar' here"),
    ],
)
def test_bad_values_are_refused_in_words(
    chat: Chat, panel: ChatPanel, name: str, text: str, said: str
) -> None:
    before = chat.sampling, chat.limits
    error = fail(panel, "set", name=name, value=text)
    assert said in error
    assert len(error) < 300
    assert (chat.sampling, chat.limits) == before


def test_what_python_sets_is_followed(chat: Chat, panel: ChatPanel) -> None:
    panel.take_snapshot()
    chat.sampling = chat.sampling.with_changes(temperature=0.25, mirostat=2)
    chat.limits = chat.limits.with_changes(max_tokens=9, stop="zz")
    [change] = panel.changes([SettingsChanged()])
    assert change["footer"]["options"]["temperature"] == 0.25
    assert change["footer"]["options"]["max_tokens"] == 9
    assert change["settings"] == ["mirostat: 2", 'stop: ["zz"]']


def test_an_option_is_set_while_the_model_answers(chat: Chat, panel: ChatPanel) -> None:
    """It is not kept waiting by the answer, for which it comes too late."""
    begun, goes_on = threading.Event(), threading.Event()

    def wait(_token: object) -> None:
        begun.set()
        goes_on.wait()

    asking = threading.Thread(
        target=chat.ask, args=("Hi",), kwargs={"max_tokens": 2, "on_token": wait, "echo": False}
    )
    asking.start()
    assert begun.wait()
    try:
        assert fail(panel, "set", name="temperature", value="0") == ""
        assert chat.sampling.temperature == 0
        told = messages(panel, lambda: panel._do("count", {"text": "More?", "key": "a"}))
        assert [m["typed"] for m in told] == [{"key": "a", "used": None}]  # not known yet
    finally:
        goes_on.set()
        asking.join()


def messages(panel: ChatPanel, action: Callable[[], object]) -> list[dict[str, Any]]:
    """What a panel sends while something is done."""
    sent: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panel, "_say", sent.append)
        action()
        panel.publish()
    return [each for each in sent if "typed" in each]


def test_what_is_typed_is_counted_exactly_and_leaves_an_error(chat: Chat, panel: ChatPanel) -> None:
    chat.ask("Hi", max_tokens=4)
    assert fail(panel, "ask", text="word " * 90)
    error = panel.error
    [told] = messages(panel, lambda: panel._do("count", {"text": "And?", "key": "b"}))
    assert panel.error == error
    chat.ask("And?", max_tokens=0)
    assert told["typed"] == {"key": "b", "used": chat.context.token_count()}


def test_an_error_about_room_has_what_helps(chat: Chat, panel: ChatPanel) -> None:
    chat.ask("Hi", max_tokens=4)
    assert "Nothing was evaluated" in fail(panel, "ask", text="word " * 90)
    [larger] = panel.remedies  # one turn: nothing can be dropped
    assert larger["action"] == "enlarge"
    n_ctx = larger["arguments"]["n_ctx"]
    assert larger["label"] == f"New chat with {n_ctx:,} cells"
    chat.ask("Ho", max_tokens=4)
    fail(panel, "ask", text="word " * 90)
    assert [each["action"] for each in panel.remedies] == ["trim", "enlarge"]
    assert panel.failures == 2
    fail(panel, "ask", text="word " * 90)
    assert panel.failures == 3  # the error is the same, and views hear of it
    assert fail(panel, "dismiss") == ""
    assert panel.remedies == []


@pytest.mark.slow
@given(needed=st.integers(1, 3000), free=st.integers(0, 90))
def test_a_larger_context_has_room_for_what_was_refused(
    tiny: ModelMaker, needed: int, free: int
) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=96, n_threads=1)
    error = ContextFullError("full", needed=needed, free=free)
    for each in remedies(chat, error):
        n_ctx = each["arguments"]["n_ctx"]
        assert needed < n_ctx - (96 - free)
        assert 96 < n_ctx <= chat.model.n_ctx_train
    chat.context.close()


@settings(max_examples=30)
@given(n_ctx=st.integers(200, 2048), n_more=st.integers(1, 2000))
def test_no_larger_context_is_offered_that_reads_rows_in_another_way(
    tiny: ModelMaker, n_ctx: int, n_more: int
) -> None:
    """As of LongRoPE, here with other factors above 1,024 cells."""
    model = tiny("longrope", n_ctx=4096, chat_template=CHATML)
    chat = Chat(model, n_ctx=n_ctx, n_threads=1)
    chat.ask("Hi", max_tokens=2, echo=False)
    offered = remedies(chat, ContextFullError("full", needed=n_more, free=0))
    for each in offered:
        chat.with_n_ctx(each["arguments"]["n_ctx"]).context.close()
    if n_ctx > 1024 or n_ctx + n_more < 512:  # doubled, it stays on its side
        assert offered
    chat.context.close()


def test_a_full_context_is_said_and_trimmed(chat: Chat, panel: ChatPanel) -> None:
    assert footer(panel)["full"] is None
    chat.ask("Hi", max_tokens=4)
    chat.ask("Ho")
    [change] = panel.changes([SettingsChanged()])
    full = change["footer"]["full"]
    assert "all 96 cells are in use" in full["text"]
    assert [each["action"] for each in full["remedies"]] == ["trim", "enlarge"]
    chat.undo()
    chat.ask("Ho", max_tokens=4)
    [change] = panel.changes([SettingsChanged()])
    assert change["footer"]["full"] is None
    chat.ask("Hm", max_tokens=2)
    assert fail(panel, "trim") == ""
    assert "cells are free again" in panel.notice


def test_a_larger_chat_takes_the_place_of_the_first(chat: Chat, panel: ChatPanel) -> None:
    others = [UndoRedo(chat), Timeline(chat), ChatPanel(chat)]
    chat.ask("Hi", max_tokens=4)
    before = panel.take_snapshot()["messages"]
    assert fail(panel, "enlarge", n_ctx=192) == ""
    larger = panel.chat
    assert larger is not chat
    assert larger.context.n_ctx == 192
    assert all(each.chat is larger and each.tree is larger.tree for each in others)
    assert panel.take_snapshot()["messages"] == before
    assert panel.notice == "This is a new chat with 192 cells, and the same tree."
    panel.handle("ask", {"text": "word " * 20})
    assert len(larger.turns) == 4
    assert len(chat.turns) == 2
    for each in others:
        each.close()


def test_a_view_shows_the_larger_chat_and_lets_the_first_go(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=96, n_threads=1)
    chat.ask("Hi", max_tokens=4)
    view = chat_view(chat)
    assert fail(view.panel, "enlarge", n_ctx=192) == ""
    larger, first = view.chat, weakref.ref(chat.context)
    assert larger.context.n_ctx == 192
    assert chat_view(larger) is view
    assert chat_view(chat) is not view
    del chat
    gc.collect()
    assert first() is None  # and with it its cells
    assert larger.undo() is None
    assert larger.redo() is not None
    view.close()


def test_the_notebook_s_variables_name_the_larger_chat(
    chat: Chat, panel: ChatPanel, shell: InteractiveShell
) -> None:
    shell.user_ns |= {"chat": chat, "mine": chat, "_9": chat, "other": 3}
    assert fail(panel, "enlarge", n_ctx=192) == ""
    assert [shell.user_ns[name] for name in ("chat", "mine")] == [panel.chat] * 2
    assert shell.user_ns["_9"] is chat
    assert "In cells it is called chat and mine now." in panel.notice


def test_a_closed_context_is_shown(chat: Chat) -> None:
    chat.ask("Hi", max_tokens=4)
    chat.context.close()
    assert ChatPanel(chat).take_snapshot()["footer"]["used"] == 0


def test_the_pace_is_that_of_one_answer() -> None:
    pace = Pace()
    assert pace.per_second == 0
    for n in range(5):
        pace.add(10 + n / 8)
    assert pace.per_second == 8
    pace.end()
    assert pace.per_second == 8  # until another one begins
    pace.add(100)
    assert pace.per_second == 0
    pace.add(100.5)
    assert pace.per_second == 2


@given(
    used=st.integers(0, 5000),
    n_ctx=st.integers(1, 4096),
    after=st.none() | st.integers(0, 9000),
)
def test_the_bar_stays_within_its_bounds(
    javascript: JavaScript, used: int, n_ctx: int, after: int | None
) -> None:
    shown = javascript.call(FOOTER, "barOf", used, n_ctx, after)
    assert 0 <= shown["used"] <= 100
    assert 0 <= shown["typed"] <= 100 - shown["used"] + 1e-9
    assert shown["isOver"] == (after is not None and after > n_ctx)
    assert shown["words"].startswith(f"{used:,} of {n_ctx:,} cells")
    if shown["isOver"]:
        assert after is not None
        assert f"{after - n_ctx:,} too many" in shown["words"]


def test_the_menus_offer_what_the_kernel_takes(javascript: JavaScript) -> None:
    menus = javascript.call(
        FRONT_END.parents[2] / "tests" / "widgets" / "show.js",
        "constant",
        MENU.as_uri(),
        "MENUS",
    )
    assert [field["name"] for menu in menus for field in menu["fields"]] == [*OPTIONS]
    defaults = {**vars(SamplingParams()), **vars(Limits())}
    options = {name: defaults[name] for name in OPTIONS}
    words = [javascript.call(MENU, "wordsOf", menu, options, options) for menu in menus]
    assert words == ["Temperature 0.8", "Length no limit", "Sampling"]
    options = {**options, "top_k": 3, "max_tokens": 20}
    words = [javascript.call(MENU, "wordsOf", menu, options, defaults) for menu in menus]
    assert words[1:] == ["Length 20", "Sampling (1 set)"]
    for menu in menus:
        for field in menu["fields"]:
            for preset in field["presets"]:
                set_to = {field["name"]: preset}
                limits = field["name"] in vars(Limits())
                (Limits if limits else SamplingParams)(**set_to)


def test_notices_say_an_error_or_a_full_context(javascript: JavaScript) -> None:
    module = FRONT_END / "notices.js"
    full = {"text": "full", "remedies": []}
    traits: dict[str, Any] = {"error": "", "remedies": [], "notice": ""}

    def kinds(**others: Any) -> list[str]:
        found = javascript.call(module, "noticesOf", {**traits, **others}, full)
        return [each["kind"] for each in found]

    assert kinds() == ["full"]
    assert kinds(error="no") == ["error"]
    assert kinds(error="no", notice="so") == ["error", "note"]
    assert javascript.call(module, "noticesOf", traits, None) == []


@pytest.mark.parametrize("name", ["live", "progress", "is_busy", "in_cell", None])
def test_one_button_stops_whatever_runs(javascript: JavaScript, name: str | None) -> None:
    state: dict[str, Any] = {"live": None, "progress": None}
    traits = {"is_busy": False, "in_cell": False}
    (state if name in state else traits).update({} if name is None else {name: True})
    found = javascript.call(FRONT_END / "composer.js", "isRunning", state, traits)
    assert found == (name is not None)


def test_a_value_that_is_set_is_no_python(chat: Chat) -> None:
    with pytest.raises(ParameterError):
        set_option(chat, "temperature", "__import__('os')")
