"""Entries that name what they follow, in names that any file system keeps apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.errors import ParameterError
from mullama_nb.sessions.names import check_name
from mullama_nb.sessions.travelling import remote_store
from mullama_nb.sessions.travelling.lineage import MOST_FOLLOWED, EntryName, Lineage

CONTENTS = st.sampled_from([f"{n:032x}" for n in range(4)])


@st.composite
def lineages(draw: st.DrawFn) -> Lineage:
    """What any pushes leave, some of which had not seen all that was there."""
    entries: list[EntryName] = []
    for _ in range(draw(st.integers(0, 12))):
        seen = Lineage(entries[: draw(st.integers(0, len(entries)))])
        entries += seen.next(draw(CONTENTS))
    return Lineage(draw(st.permutations(entries)))


@given(lineages(), CONTENTS)
def test_whatever_is_pushed_last_follows_all_others(lineage: Lineage, content: str) -> None:
    new = lineage.next(content)
    assert all(len(entry.file.encode()) <= 255 for entry in new)
    assert all(len(entry.follows) <= MOST_FOLLOWED for entry in new)
    after = Lineage([*lineage.entries.values(), *new])
    if after.entries.keys() != lineage.entries.keys():  # not the same entry once more
        assert after.heads == [new[-1]]
        for entry in lineage.entries:
            assert after.leads_to([entry], new[-1])
            assert not after.leads_to([new[-1].id], lineage.entries[entry])


@given(lineages())
def test_a_head_is_followed_by_none(lineage: Lineage) -> None:
    heads = {head.id for head in lineage.heads}
    assert bool(heads) == bool(lineage.entries)
    for entry in lineage.entries.values():
        assert heads.isdisjoint(entry.follows)
        assert any(lineage.leads_to([entry.id], head) for head in lineage.heads)
        assert EntryName.parse(entry.file) == entry


@pytest.mark.slow
@given(lineages(), st.data())
def test_a_name_that_was_changed_is_another_entry(lineage: Lineage, data: st.DataObject) -> None:
    if not lineage.entries:
        return
    entry = data.draw(st.sampled_from(sorted(lineage.entries.values(), key=lambda e: e.file)))
    at = data.draw(st.integers(0, len(entry.file) - 1))
    letter = data.draw(st.sampled_from("0123456789abcdefg.~/A"))
    file = f"{entry.file[:at]}{letter}{entry.file[at + 1 :]}"
    found = EntryName.parse(file)
    assert file == entry.file or found is None or found.id != entry.id


@pytest.mark.parametrize("file", ["", "x.json", f"{'a' * 32}", f"{'a' * 32}.json.json"])
def test_other_files_are_no_entries(file: str) -> None:
    assert EntryName.parse(file) is None


@given(st.text(max_size=12), st.text(max_size=12))
def test_names_have_folders_that_no_file_system_takes_for_another(one: str, other: str) -> None:
    names = []
    for text in (one, other, one.swapcase(), one.casefold()):
        try:
            names.append(check_name(text))
        except ParameterError:
            continue
    folders = {name: remote_store._folder(name) for name in names}
    assert len({folder.casefold() for folder in folders.values()}) == len(folders)
    for name, folder in folders.items():
        assert remote_store._name(folder) == name
        assert len(folder.encode()) <= 255
