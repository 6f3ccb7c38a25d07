"""Files of results: what a killed run leaves, what a stranger sends, and two runs at once."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from testing.suites.suite_values import FEW, PLAIN, answer, cell, results
from testing.suites.test_page import check_closed

from mullama_nb.errors import ParameterError, RecordingError, SessionWriteError
from mullama_nb.testing import SuiteResult
from mullama_nb.testing.suites.journal import Journal

SAME_FOLDER = settings(FEW, suppress_health_check=[HealthCheck.function_scoped_fixture])
PLANNED = SuiteResult(
    "s",
    ("a", "b", "c"),
    ("m",),
    ("plain",),
    tasks={f"{case}[m,plain]": case for case in "abc"},
)


def run(path: Path, result: SuiteResult) -> list[str]:
    """Do what a run does: the ids of the tasks that were not stored yet."""
    planned = dataclasses.replace(result, cells=())
    evaluated = []
    with Journal(path, planned) as journal:
        stored = journal.cells
        for each in result.cells:
            if each.id not in stored:
                evaluated.append(each.id)
                journal.append(each)
        assert journal.result == result
    return evaluated


@pytest.mark.slow
@SAME_FOLDER
@given(result=results())
def test_what_is_written_is_read(tmp_path: Path, result: SuiteResult) -> None:
    path = tmp_path / "r.jsonl"
    result.to_jsonl(path)
    assert SuiteResult.read(path) == result
    other = tmp_path / "other.jsonl"
    other.unlink(missing_ok=True)
    run(other, result)
    assert other.read_bytes() == path.read_bytes()


@pytest.mark.slow
@SAME_FOLDER
@given(result=results(has_errors=False), data=st.data())
def test_a_run_killed_at_any_byte_goes_on(
    tmp_path: Path, result: SuiteResult, data: st.DataObject
) -> None:
    path = tmp_path / "r.jsonl"
    result.to_jsonl(path)
    whole = path.read_bytes()
    n = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:n])
    kept = whole[:n].count(b"\n") + whole[:n].endswith(b"}") * (whole[n : n + 1] == b"\n")
    evaluated = run(path, result)
    assert evaluated == [each.id for each in result.cells[max(0, kept - 1) :]]
    assert path.read_bytes() == whole
    assert SuiteResult.read(path) == result


def test_every_cut_of_one_file_keeps_every_whole_line(tmp_path: Path) -> None:
    result = dataclasses.replace(PLANNED, cells=tuple(map(cell, "ab")))
    path = tmp_path / "r.jsonl"
    result.to_jsonl(path)
    whole = path.read_bytes()
    first = whole.index(b"\n")
    for n in {*range(0, len(whole) + 1, 7), *range(first - 3, first + 4), len(whole) - 1}:
        path.write_bytes(whole[:n])
        if n < first:
            with pytest.raises(RecordingError, match="it holds no results"):
                SuiteResult.read(path)
        else:
            n_cells = len(SuiteResult.read(path).cells)
            assert n_cells == max(0, whole[: n + 1].count(b"\n") - 1)
        run(path, result)
        assert path.read_bytes() == whole


def test_zeros_of_a_power_cut_are_no_line(tmp_path: Path) -> None:
    result = dataclasses.replace(PLANNED, cells=tuple(map(cell, "abc")))
    path = tmp_path / "r.jsonl"
    result.to_jsonl(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40] + bytes(40))
    assert len(SuiteResult.read(path).cells) == 2
    assert run(path, result) == ["c[m,plain]"]
    assert path.read_bytes() == whole


@pytest.mark.slow
@settings(SAME_FOLDER, max_examples=100)
@given(data=st.data())
def test_any_other_damage_is_named_by_its_line(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "r.jsonl"
    dataclasses.replace(PLANNED, cells=tuple(map(cell, "abc"))).to_jsonl(path)
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]))
    line = whole[:at].count(b"\n") + 1
    if at == len(whole) - 1 and not whole[at]:  # zeros of a power cut
        return
    path.write_bytes(whole)
    with pytest.raises(RecordingError, match=rf"r\.jsonl: line {line}: "):
        SuiteResult.read(path)
    with pytest.raises(RecordingError, match=rf"r\.jsonl: line {line}: "):
        Journal(path, PLANNED)
    assert path.read_bytes() == whole


def test_only_results_of_the_same_task_are_used_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    result = dataclasses.replace(PLANNED, cells=tuple(map(cell, "abc")))
    run(path, result)
    tasks = PLANNED.tasks | {"b[m,plain]": "other"}
    cells = (cell("a"), cell("b", digest="other", question="new"), cell("c"))
    changed = dataclasses.replace(PLANNED, tasks=tasks, cells=cells)
    with Journal(path, dataclasses.replace(changed, cells=())) as journal:
        assert [*journal.cells] == ["a[m,plain]", "c[m,plain]"]
    assert SuiteResult.read(path).missing == ("b[m,plain]",)  # and not what it was before
    assert run(path, changed) == ["b[m,plain]"]
    assert SuiteResult.read(path) == changed
    assert run(path, result) == []  # back to the suite of before: all is still there
    assert SuiteResult.read(path) == result


def test_what_could_not_be_judged_is_run_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    lost = cell("b", passed=False, error="the worker was lost", findings=())
    first = dataclasses.replace(PLANNED, cells=(cell("a"), lost, cell("c")))
    run(path, first)
    assert SuiteResult.read(path) == first
    second = dataclasses.replace(PLANNED, cells=tuple(map(cell, "abc")))
    assert run(path, second) == ["b[m,plain]"]
    assert SuiteResult.read(path) == second


def test_a_result_of_no_task_is_refused(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "r.jsonl", PLANNED) as journal,
        pytest.raises(ParameterError, match="of no task"),
    ):
        journal.append(cell("a", digest="other"))


@pytest.mark.slow
@SAME_FOLDER
@given(result=results(), data=st.data())
def test_any_split_is_put_together_as_the_whole(
    tmp_path: Path, result: SuiteResult, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, 3))
    shards = [data.draw(st.integers(0, n - 1)) for _ in result.cells]
    paths = []
    for shard in range(n):
        cells = tuple(c for c, s in zip(result.cells, shards, strict=True) if s == shard)
        paths.append(tmp_path / f"{shard}.jsonl")
        tasks = {each.id: each.digest for each in cells}
        part = SuiteResult(result.name, result.cases, result.models, result.settings, cells, tasks)
        part.to_jsonl(paths[-1])
    whole = SuiteResult.read(*data.draw(st.permutations(paths)))
    assert whole == result
    assert str(whole) == str(result)


def test_parts_of_other_suites_are_not_put_together(tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"{name}.jsonl" for name in "abc")
    PLANNED.to_jsonl(a)
    dataclasses.replace(PLANNED, name="t").to_jsonl(b)
    dataclasses.replace(PLANNED, tasks={"a[m,plain]": "other"}).to_jsonl(c)
    with pytest.raises(ParameterError, match="different suites, 's' and 't'"):
        SuiteResult.read(a, b)
    with pytest.raises(ParameterError, match=r"'a\[m,plain\]' is another task"):
        SuiteResult.read(a, c)
    with pytest.raises(ParameterError, match="no results were given"):
        SuiteResult.read()


def test_shards_with_labels_of_their_own_keep_the_order(tmp_path: Path) -> None:
    paths = []
    for models in (("m", "o"), ("m", "n"), ("n", "o")):
        paths.append(tmp_path / f"{len(paths)}.jsonl")
        cells = tuple(cell("a", model, digest=model) for model in models)
        SuiteResult("s", ("a",), models, ("plain",), cells).to_jsonl(paths[-1])
    assert SuiteResult.read(*paths).models == ("m", "n", "o")


# -- the file -------------------------------------------------------------------------------------


def test_it_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.touch(mode=0o644)
    run(path, dataclasses.replace(PLANNED, cells=(cell("a"),)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    PLANNED.to_jsonl(tmp_path / "other.jsonl")
    assert stat.S_IMODE((tmp_path / "other.jsonl").stat().st_mode) == 0o600


def test_a_link_or_folder_or_pipe_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"")
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(SessionWriteError, match="link is a link"):
        Journal(link, PLANNED)
    assert target.read_bytes() == b""
    with pytest.raises(SessionWriteError, match="cannot be opened"):
        Journal(tmp_path, PLANNED)
    with pytest.raises(SessionWriteError, match="cannot be opened"):
        Journal(tmp_path / "missing" / "r.jsonl", PLANNED)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SessionWriteError, match="not a file that can hold results"):
        Journal(tmp_path / "pipe", PLANNED)


def test_a_file_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.jsonl"
    path.touch()
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(SessionWriteError, match="belongs to another user"):
        Journal(path, PLANNED)


SOMETHING_ELSE = {
    "a text": "my notes",
    "a line": "my notes\n",
    "JSON": '{"cells": []}',
    "a line of JSON": "[1, 2]\n",
    "an empty line": "\n",
}


@pytest.mark.parametrize("kind", SOMETHING_ELSE)
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, kind: str) -> None:
    text = SOMETHING_ELSE[kind]
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(RecordingError, match=r"notes\.txt: line 1: .* no file of results"):
        Journal(path, PLANNED)
    assert path.read_text() == text


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Journal(path, PLANNED) as journal:
        journal.append(cell("a"))
        before = path.read_bytes()
        with pytest.raises(ParameterError, match="being written by another run"):
            Journal(path, PLANNED)
        assert path.read_bytes() == before
        assert len(SuiteResult.read(path).cells) == 1  # looking is no harm
        journal.append(cell("b"))
    with Journal(path, PLANNED) as journal:
        assert [*journal.cells] == ["a[m,plain]", "b[m,plain]"]


HOLDING = """
import sys
from dataclasses import replace
from mullama_nb.testing import SuiteCell, SuiteResult
from mullama_nb.testing.suites.journal import Journal

cell = SuiteCell("a[m,plain]", "a", "m", "plain", True, digest="a")
tasks = {f"{case}[m,plain]": case for case in "abc"}
journal = Journal(sys.argv[1], SuiteResult("s", tuple("abc"), ("m",), ("plain",), (), tasks))
journal.append(cell)
print("appended", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_lets_go_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    command = [sys.executable, "-c", HOLDING, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "appended\n"
            with pytest.raises(ParameterError, match="another run"):
                Journal(path, PLANNED)
        finally:
            process.kill()
    with Journal(path, PLANNED) as journal:
        assert [*journal.cells] == ["a[m,plain]"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_worker_that_lives_on_does_not_hold_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    journal = Journal(path, PLANNED)
    (stay, end), (begun, begin) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(end)
        os.write(begin, b"1")
        os.read(stay, 1)
        os._exit(0)
    try:
        os.read(begun, 1)
        with pytest.raises(ParameterError, match="another run"):
            Journal(path, PLANNED)
        journal.append(cell("a"))
        journal.close()
        with Journal(path, PLANNED) as journal:
            assert [*journal.cells] == ["a[m,plain]"]
    finally:
        for descriptor in (stay, end, begun, begin):
            os.close(descriptor)
        os.waitpid(child, 0)


def test_a_full_disk_loses_one_line_and_the_run_may_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.jsonl"
    pwrite, room = os.pwrite, [50]

    def full(descriptor: int, data: memoryview, at: int) -> int:
        n = min(len(data), room[0])
        room[0] -= n
        if not n:
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data[:n], at)

    with Journal(path, PLANNED) as journal:
        journal.append(cell("a"))
        before = path.read_bytes()
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(SessionWriteError, match="No space left on device"):
            journal.append(cell("b"))
        assert len(SuiteResult.read(path).cells) == 1
        assert path.read_bytes()[: len(before)] == before
        monkeypatch.setattr(os, "pwrite", pwrite)
        journal.append(cell("c"))
    assert [each.id for each in SuiteResult.read(path).cells] == ["a[m,plain]", "c[m,plain]"]


# -- values from strangers ------------------------------------------------------------------------


def forged(path: Path, change: Callable[[dict], None], number: int = 1) -> None:
    """Change a line, and make its checksum right again."""
    lines = path.read_bytes().splitlines(keepends=True)
    values = json.loads(lines[number])
    change(values)
    del values["checksum"], values["mullama_suite"]
    rest = json.dumps(values)[1:].encode()
    checksum = blake3(rest).hexdigest(length=16)
    lines[number] = b'{"mullama_suite":1,"checksum":"%b",%b\n' % (checksum.encode(), rest)
    path.write_bytes(b"".join(lines))


WRONG = {
    "another type": lambda v: v["cell"].update(question=1),
    "a number as a flag": lambda v: v["cell"].update(passed=1),
    "passed against its findings": lambda v: v["cell"].update(passed=False),
    "an unknown key": lambda v: v["cell"].update(extra=1),
    "a missing key": lambda v: v["cell"].pop("tree"),
    "both kinds": lambda v: v.update(suite={}),
    "neither kind": lambda v: v.pop("cell"),
    "a token below 0": lambda v: v["cell"]["answers"][0].update(tokens=[-1]),
    "a token that is none": lambda v: v["cell"]["answers"][0].update(tokens=[True]),
    "fewer pieces": lambda v: v["cell"]["answers"][0].update(pieces=[]),
    "a probability above 1": lambda v: v["cell"]["answers"][0].update(logprobs=[0.5]),
    "NaN": lambda v: v["cell"]["answers"][0].update(logprobs=[float("nan")]),
    "infinity": lambda v: v["cell"].update(seconds=float("inf")),
    "a huge number": lambda v: v["cell"].update(n_prompt=10**30),
    "negative seconds": lambda v: v["cell"].update(seconds=-1),
    "more passed than drawn": lambda v: v["cell"]["findings"][0].update(n_passed=3),
    "an interval of one": lambda v: v["cell"]["findings"][0].update(interval=[0.5]),
    "an interval upside down": lambda v: v["cell"]["findings"][0].update(interval=[0.9, 0.1]),
    "a top of one": lambda v: v["cell"]["answers"][0].update(tops=[[[1]]]),
    "depth": lambda v: v["cell"].update(settings=json.loads('{"a":' * 50 + "1" + "}" * 50)),
    "a lone surrogate": lambda v: v["cell"].update(question="\ud800"),
    "another row": lambda v: v["cell"].update(case="z"),
    "another task": lambda v: v["cell"].update(digest="z"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_value_that_cannot_be_right_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "r.jsonl"
    dataclasses.replace(PLANNED, cells=(cell("a", answers=(answer("x"),)),)).to_jsonl(path)
    forged(path, dict.copy)
    assert len(SuiteResult.read(path).cells) == 1  # what is forged well is read
    forged(path, WRONG[kind])
    with pytest.raises(RecordingError, match=r"r\.jsonl: line 2: "):
        SuiteResult.read(path)


WRONG_HEADER = {
    "a text as labels": lambda v: v["suite"].update(cases="abc"),
    "a label twice": lambda v: v["suite"].update(cases=["a", "a"]),
    "a list as tasks": lambda v: v["suite"].update(tasks=["a"]),
    "a number as a digest": lambda v: v["suite"].update(tasks={"a": 1}),
    "no name": lambda v: v["suite"].update(name=None),
}


@pytest.mark.parametrize("kind", WRONG_HEADER)
def test_a_header_that_cannot_be_right_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "r.jsonl"
    PLANNED.to_jsonl(path)
    forged(path, WRONG_HEADER[kind], 0)
    with pytest.raises(RecordingError, match=r"r\.jsonl: line 1: "):
        SuiteResult.read(path)


def test_a_message_about_a_file_is_printable(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    dataclasses.replace(PLANNED, cells=(cell("a"),)).to_jsonl(path)
    forged(path, lambda values: values["cell"].update(digest="\x1b[31m" * 10_000))
    with pytest.raises(RecordingError) as caught:
        SuiteResult.read(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1_000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"r\.jsonl: there is no such file"):
        SuiteResult.read(tmp_path / "r.jsonl")


def places(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Where in a line a value stands."""
    yield path
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in pairs:
        yield from places(inner, (*path, key))


@pytest.mark.slow
@settings(SAME_FOLDER, max_examples=150)
@given(data=st.data())
def test_whatever_a_stranger_writes_is_refused_or_can_be_shown(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "r.jsonl"
    answers = (answer("x y", tops=(((1, -1.0),), ((2, -2.0),))), answer("z", seed=3, sibling=1))
    cells = (
        cell("a", answers=answers, settings={"type_k": "f16"}, environment={"n_threads": [2, 2]}),
        cell("b", answers=answers, passed=False),
    )
    whole = dataclasses.replace(PLANNED, cells=cells)
    whole.to_jsonl(path)
    number = data.draw(st.integers(0, 2))
    line = json.loads(path.read_bytes().splitlines()[number])
    kind = "cell" if number else "suite"
    place = data.draw(st.sampled_from([*places(line[kind])][1:]))
    other = data.draw(PLAIN | st.sampled_from([-1, 2**70, 1e308, "\x1b[31m<script>", "a" * 9_999]))

    def change(values: dict) -> None:
        at = values[kind]
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = other

    forged(path, change, number)
    try:
        result = SuiteResult.read(path)
    except RecordingError:
        return
    for one in (result, whole.compare(result), result.compare(whole)):
        assert all(each.isprintable() for each in str(one).splitlines())
        assert "<script>" not in one._repr_html_()
        check_closed(one.to_html(tmp_path / "page.html").read_text(encoding="utf-8"))
        json.dumps(one.to_dict(), allow_nan=False)
