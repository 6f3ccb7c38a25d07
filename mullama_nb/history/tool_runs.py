"""Running the tools that answers call, and answering their results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from ..checks import is_integer
from ..engine.answers.format import ToolCall
from ..engine.warn import warn
from ..errors import HistoryError, ParameterError, ToolWarning, shown
from .conversation import Conversation
from .tools import ToolError, Tools
from .tree import Checkpoint, CheckpointTree

__all__ = ["Results", "ToolRuns", "checked_limit"]

_MOST = 10


class Answered(Protocol):
    """An answer that may call tools."""

    @property
    def checkpoint(self) -> Checkpoint:
        """Where it ends."""

    @property
    def is_complete(self) -> bool:
        """Whether it ended by itself."""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls in it."""


A = TypeVar("A", bound=Answered)
Results: TypeAlias = list[dict[str, Any]]


class ToolRuns(Generic[A]):
    """Runs the calls of an answer, says the results, and so on with the next answer.

    Parameters
    ----------
    tree : CheckpointTree
    conversation : Conversation
        Of the tree.
    tools : Tools
        Only its functions are run.
    limit : bool or int
        How many calls may be run; True: 10.
    ask : callable
        Says the results as messages and returns the answer to them.

    Raises
    ------
    ParameterError
        When the limit is none, or there is no function to run.
    """

    def __init__(
        self,
        tree: CheckpointTree,
        conversation: Conversation,
        tools: Tools,
        limit: bool | int,
        ask: Callable[[Results], A],
    ) -> None:
        self._left = checked_limit(limit)
        if self._left and not tools.functions:
            raise ParameterError(
                f"run_tools={limit!r} needs functions, and this chat has none: hand them over with "
                "Chat(tools=[...]) or Chat.open(..., tools=[...])"
            )
        self._tree = tree
        self._conversation = conversation
        self._tools = tools
        self._ask = ask

    def go_on(self, turn: A) -> A:
        """Return the last answer: the given one, unless it calls what can be run."""
        while self._left and (calls := self._calls(turn)):
            if len(calls) > self._left:
                warn(
                    f"the answer calls {len(calls)} more tools and run_tools allows "
                    f"{self._left}: none of them was run",
                    ToolWarning,
                )
                break
            self._left -= len(calls)
            results = self._run(turn, calls)
            with self._tree.turn():
                self._check_place(turn)
                turn = self._ask(results)
        return turn

    def _calls(self, turn: A) -> tuple[ToolCall, ...]:
        """The calls of a complete answer, if all can be run or answered."""
        calls = turn.tool_calls if turn.is_complete else ()
        given = {tool.get("function", tool).get("name") for tool in self._tools.schemas or ()}
        by_hand = given - {*self._tools.functions}  # schemas alone: their results are given
        if any(call.error is not None or call.name in by_hand for call in calls):
            return ()
        return calls

    def _run(self, turn: A, calls: tuple[ToolCall, ...]) -> Results:
        results: Results = []
        try:
            results.extend(map(self._result, calls))
        except BaseException:  # an interrupt: what was done stays said
            if results:
                with self._tree.turn():
                    self._check_place(turn)
                    self._conversation.append(results)
            raise
        return results

    def _result(self, call: ToolCall) -> dict[str, Any]:
        try:
            content = self._tools.run(call)
        except ToolError as error:
            content = f"error: {error}"
            warn(f"the model called {call.name!r} and was told: {error}", ToolWarning)
        except Exception as error:
            content = f"error: {type(error).__name__}: {error}"
            warn(
                f"the tool {call.name!r} raised {type(error).__name__}: {shown(str(error))}. The "
                "model was told",
                ToolWarning,
            )
        return {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": content}

    def _check_place(self, turn: A) -> None:
        if self._tree.head is not turn.checkpoint:
            raise HistoryError("the chat was moved while a tool ran, so its result was not said")


def checked_limit(limit: object) -> int:
    """Return how many calls may be run.

    Raises
    ------
    ParameterError
    """
    if isinstance(limit, bool):
        return _MOST * limit
    if not is_integer(limit) or int(limit) < 0:
        raise ParameterError(f"run_tools={limit!r} must be True, False or a number of calls")
    return int(limit)
