"""What Mirostat and adaptive-p carry from token to token travels with the checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mullama_nb import Chat, Model, SamplingParams
from mullama_nb.history.carrying import carried
from mullama_nb.history.message import message_parts
from mullama_nb.history.notes import Notes
from mullama_nb.history.turn import Turn
from mullama_nb.testing import read, record, record_again, replay

ChatMaker = Callable[..., Chat]

N = 30
WIDE = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
ENDLESS = {"logit_bias": dict.fromkeys(range(17), -float("inf"))}
CARRYING: dict[str, dict[str, Any]] = {
    "mirostat 1": {"mirostat": 1, "mirostat_tau": 4.0, "mirostat_eta": 0.5, **ENDLESS},
    "mirostat 2": {"mirostat": 2, "mirostat_tau": 4.0, "mirostat_eta": 0.5, **ENDLESS},
    "adaptive-p": {"adaptive_p_target": 0.1, "adaptive_p_decay": 0.8, **WIDE, **ENDLESS},
}
WAYS: dict[str, Callable[[Chat, Path], Chat]] = {}


def way(function: Callable[[Chat, Path], Chat]) -> Callable[[Chat, Path], Chat]:
    WAYS[function.__name__] = function
    return function


@way
def straight_on(chat: Chat, _: Path) -> Chat:
    return chat


@way
def undo_and_redo(chat: Chat, _: Path) -> Chat:
    chat.undo()
    chat.redo()
    return chat


@way
def by_way_of_another_branch(chat: Chat, _: Path) -> Chat:
    end = chat.head
    chat.edit("Otherwise?", max_tokens=5)
    chat.checkout(end)
    return chat


@way
def cut_and_checked_out(chat: Chat, _: Path) -> Chat:
    """Forking elsewhere in the answer splits its checkpoint."""
    end = chat.head
    if len(end.tokens) > 1:
        chat.tree.fork(end, token=len(end.tokens) // 2)
    chat.checkout(end)
    return chat


@way
def saved_and_opened(chat: Chat, folder: Path) -> Chat:
    chat.save("carried", folder, replace=True)
    return Chat.open("carried", chat.model, folder)


@way
def spilled(chat: Chat, _: Path) -> Chat:
    chat.tree.spill(chat.head)
    return chat


def tokens_of(turn: Turn) -> list[int]:
    return [token for part in message_parts(turn.checkpoint) for token in part.tokens]


def states_of(turn: Turn) -> list[list[float]]:
    parts = message_parts(turn.checkpoint)
    return [list(state) for part in parts for state in part.metadata.sampler_states]


@pytest.mark.slow
@pytest.mark.parametrize("options", CARRYING.values(), ids=CARRYING)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(
    cuts=st.lists(st.tuples(st.integers(1, N - 1), st.sampled_from([*WAYS])), max_size=4),
    stops=st.booleans(),
)
def test_an_interrupted_answer_goes_on_as_if_it_had_not_been(
    new_chat: ChatMaker,
    tmp_path: Path,
    options: dict[str, Any],
    cuts: list[tuple[int, str]],
    stops: bool,
) -> None:
    whole = new_chat(**options).ask("Why?", max_tokens=N)
    chat, begin = new_chat(**options), 0
    for end, name in [*sorted(dict(cuts).items()), (N, "straight_on")]:
        n_left, stopping = [end - begin], chat

        def stop(_: object, n_left: list[int] = n_left, chat: Chat = stopping) -> None:
            n_left[0] -= 1
            if n_left[0] == 0:
                chat.stop()

        limits: dict[str, Any] = {"max_tokens": end - begin}
        if stops and end < N:
            limits = {"max_tokens": N, "on_token": stop}
        turn = chat.resume(**limits) if begin else chat.ask("Why?", **limits)
        chat, begin = WAYS[name](chat, tmp_path), end
    assert tokens_of(turn) == tokens_of(whole)
    assert states_of(turn) == states_of(whole)
    assert len(states_of(turn)) == N


@pytest.mark.slow
@pytest.mark.parametrize("options", CARRYING.values(), ids=CARRYING)
@pytest.mark.parametrize("token", [0, 1, 9, 17, N - 1])
def test_a_fork_goes_on_from_its_token(
    new_chat: ChatMaker, options: dict[str, Any], token: int
) -> None:
    """Whether the answer before it was cut, and where, has no part in it."""
    forks = []
    for cuts in ((N,), (9, N), (3, 12, 20, N)):
        chat, begin = new_chat(**options), 0
        for end in cuts:
            limit = {"max_tokens": end - begin}
            turn = chat.resume(**limit) if begin else chat.ask("Why?", **limit)
            begin = end
        chosen = chat.fork(turn, token=token, choose=40, max_tokens=12, seed=9)
        again = chat.fork(turn, token=token, max_tokens=12, seed=9)
        forks.append([(tokens_of(each), states_of(each)[-9:]) for each in (chosen, again)])
    assert forks[0] == forks[1] == forks[2]
    assert tokens_of(turn)[:token] == forks[0][0][0][:token] == forks[0][1][0][:token]


@pytest.mark.parametrize("options", CARRYING.values(), ids=CARRYING)
def test_other_answers_begin_anew(new_chat: ChatMaker, options: dict[str, Any]) -> None:
    asked, explored = new_chat(**options), new_chat(**options)
    turns = [asked.ask("Why?", max_tokens=N), *(asked.regenerate(max_tokens=N) for _ in "12")]
    answers = explored.explore("Why?", 3, max_tokens=N, exact=True)
    assert [tokens_of(turn) for turn in turns] == [tokens_of(answer) for answer in answers]
    assert [states_of(turn) for turn in turns] == [states_of(answer) for answer in answers]
    kept = explored.explore(None, 2, max_tokens=6)[1].keep()
    n_before = len(states_of(kept))
    assert len(states_of(explored.resume(max_tokens=5))) == n_before + 5


@pytest.mark.slow
@pytest.mark.parametrize("options", CARRYING.values(), ids=CARRYING)
def test_recordings_replay_with_what_is_carried(
    new_chat: ChatMaker, chat_model: Model, tmp_path: Path, options: dict[str, Any]
) -> None:
    chat, path = new_chat(**options, seed=3), tmp_path / "carried.mullama.json"
    turn = chat.ask("Why?", max_tokens=9)
    turn = chat.resume(max_tokens=9)
    chat.fork(turn, token=5, max_tokens=8)
    chat.fork(turn, token=12, choose=40, max_tokens=8)
    chat.regenerate(max_tokens=9, xtc_probability=0, temperature=1.3)
    chat.explore("What?", 3, max_tokens=8)
    record(chat, path)
    assert not any(entry.drawn for entry in read(path).entries if not entry.noted.explored)
    assert replay(path, chat_model, "exact").passed
    answers = [(c.tokens, c.metadata.get("sampler_states")) for c in chat.tree]
    record_again(path, chat_model)
    again = {entry.tokens: entry.notes.get("sampler_states") for entry in read(path).entries}
    for tokens, states in answers[:2]:
        assert tokens not in again or again[tokens] == states


def test_another_sampler_takes_nothing_over() -> None:
    answer = Notes(
        {"role": "assistant", "sampling": {"mirostat": 2}, "sampler_states": [[4.0], [5.0]]}
    )
    chosen = Notes({"role": "assistant", "continues": True})
    question = Notes({"role": "user"})
    mirostat, adaptive = SamplingParams(mirostat=1), SamplingParams(adaptive_p_target=0.5)
    assert carried([answer, question], mirostat) == (5.0,)
    assert carried([chosen, answer, question], mirostat) == (5.0,)
    assert carried([answer], mirostat, [[1.0], [2.0]]) == (2.0,)
    for before, sampling in (
        ([answer, question], adaptive),
        ([answer, question], SamplingParams()),
        ([question, answer], mirostat),
        ([Notes({"role": "assistant"}), answer], mirostat),
        ([], mirostat),
    ):
        assert carried(before, sampling) is None


def test_a_split_leaves_each_part_its_own() -> None:
    states = [[float(n)] for n in range(6)]
    for n_states in range(7):
        for n_first in range(1, 6):
            whole = {"role": "assistant", "sampler_states": states[6 - n_states :]}
            first = Notes(Notes(whole).of_beginning(6 - n_first))
            second = Notes(whole)
            second.begin_later(6 - n_first)
            assert [*first.sampler_states, *second.sampler_states] == states[6 - n_states :]
            assert len(first.sampler_states) == max(0, n_first - 6 + n_states)
