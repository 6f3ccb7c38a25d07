"""The graph by itself: no model, no context, and everything that a plain recount finds."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mullama_nb.errors import HistoryError, ParameterError, RefError
from mullama_nb.history.graph import Graph, common_ancestor
from mullama_nb.history.node import ROOT_ID, Node
from mullama_nb.history.paths import Redo
from mullama_nb.history.refs import check_tag, resolve


def add(graph: Graph[Node], n_tokens: int = 2, **notes: object) -> Node:
    """Make a child of the head, and the head of it."""
    tokens = tuple(range(graph.head.stop, graph.head.stop + n_tokens))
    graph.head = graph.add(graph.head, tokens, notes, tuple(-0.5 for _ in tokens))
    return graph.head


def test_importing_it_and_its_tests_brings_no_model() -> None:
    code = (
        "import sys\n"
        "from mullama_nb.history import drawing, graph, message, refs, sizes\n"
        "known = [m for m in sys.modules if m.startswith(('mullama_nb.engine', 'llama_cpp'))]\n"
        "sys.exit(f'{known}' if known else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ids_follow_from_places() -> None:
    graphs = [Graph(Node), Graph(Node)]
    assert {graph.root.id for graph in graphs} == {ROOT_ID}
    for graph in graphs:
        add(graph)
        add(graph, role="user")
        graph.head = graph.root
        add(graph)
    a, b = ([node.id for node in graph] for graph in graphs)
    assert a == b
    assert len(set(a)) == 3


def test_what_is_removed_does_not_come_back_under_its_id() -> None:
    graph: Graph[Node] = Graph(Node)
    first = add(graph)
    graph.head = graph.root
    assert graph.remove(first) == [first]
    second = add(graph)
    assert second.id != first.id
    assert graph.counts(graph.root) == (2, 0)
    assert (first in graph, second in graph, first.id in graph) == (False, True, False)


def test_a_split_keeps_the_end_under_its_id() -> None:
    graph: Graph[Node] = Graph(Node)
    whole = add(graph, 5, role="assistant", finish_reason="stop", message={"role": "assistant"})
    identifier = whole.id
    first = graph.split(whole, 2)
    assert (first.tokens, whole.tokens, whole.id) == ((0, 1), (2, 3, 4), identifier)
    assert (first.start, first.stop, whole.start, whole.stop) == (0, 2, 2, 5)
    assert (len(first.logprobs), len(whole.logprobs)) == (2, 3)
    assert first.children == (whole,)
    assert graph.root.children == (first,)
    assert first.metadata == {"role": "assistant", "cut": True, "finish_reason": "stopped"}
    assert whole.metadata.continues


def test_refs() -> None:
    graph: Graph[Node] = Graph(Node)
    nodes = [add(graph) for _ in range(4)]
    graph.tag("here", nodes[1])
    for ref, node in {
        "HEAD": nodes[3],
        "ROOT": graph.root,
        "here": nodes[1],
        "HEAD~": nodes[2],
        "~2": nodes[1],
        "here~1": nodes[0],
        nodes[2].id: nodes[2],
        nodes[2].short_id: nodes[2],
    }.items():
        assert resolve(graph, ref, graph.head) is node
    assert resolve(graph, nodes[0], graph.head) is nodes[0]
    other: Graph[Node] = Graph(Node)
    for wrong in ("HEAD~9", "nowhere", "", add(other)):
        with pytest.raises(RefError):
            resolve(graph, wrong, graph.head)
    for wrong in ("HEAD", "a~1", "deadbee", " a"):
        with pytest.raises(ParameterError):
            check_tag(wrong)


def test_a_change_of_notes_is_heard() -> None:
    graph: Graph[Node] = Graph(Node)
    node = add(graph)
    count = graph.changes.count
    node.metadata["topic"] = "tides"
    assert graph.changes.since(count) == [node.id]


def test_a_node_says_when_what_it_needs_is_gone() -> None:
    graph: Graph[Node] = Graph(Node)
    node = add(graph)
    with pytest.raises(HistoryError, match="is gone"):
        _ = node.text
    assert repr(node) == f"Checkpoint({node.short_id}, 2 tokens)"
    del graph
    with pytest.raises(HistoryError, match="is gone"):
        _ = node.tags
    node.metadata["topic"] = "tides"  # nobody is there to hear it


def removable(graph: Graph[Node]) -> list[Node]:
    return [node for node in graph if not node.is_ancestor_of(graph.head)]


def check(graph: Graph[Node]) -> None:
    """Compare what the graph keeps with what a walk over it finds."""

    def walk(node: Node) -> Iterator[Node]:
        yield node
        for child in node.children:
            assert child.parent is node
            assert child.start == node.stop
            yield from walk(child)

    everything = list(walk(graph.root))
    assert everything == [graph.root, *graph]
    assert len(graph) == len(everything) - 1
    assert len({node.id for node in everything}) == len(everything)
    assert graph.leaves() == [n for n in graph if not n.children]
    assert graph.depth(graph.head) == sum(1 for _ in graph.head.lineage()) - 1
    assert graph.path(graph.head) == [*graph.head.lineage()][::-1][1:]
    assert set(graph.tags.values()) <= set(everything)
    assert set(graph.redo or ()) <= set(everything)
    above = set(graph.head.lineage())
    for node in everything:
        assert graph.node(node.id) is node
        assert resolve(graph, node.id, graph.head) is node
        for n in (1, 4, 20):
            same = {each for each in everything if each.id.startswith(node.id[:n])}
            assert set(graph.starting_with(node.id[:n])) == same
        common = common_ancestor(node, graph.head)
        assert common is next(each for each in node.lineage() if each in above)
        assert node.siblings == (node,) if node.parent is None else node in node.siblings


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 50)), max_size=40))
def test_any_steps_leave_a_graph_that_a_recount_agrees_with(steps: list[tuple[int, int]]) -> None:
    graph: Graph[Node] = Graph(Node)
    seen: set[str] = set()
    for kind, value in steps:
        nodes = [graph.root, *graph]
        node = nodes[value % len(nodes)]
        if kind <= 1:
            add(graph, value % 4, role="assistant" if value % 2 else "user")
            assert graph.head.id not in seen, "an id came twice"
        elif kind == 2:
            graph.redo = Redo(graph.head, graph.redo)
            graph.head = node
        elif kind == 3 and len(node.tokens) > 1:
            tokens, path = node.tokens, graph.path(node)[:-1]
            first = graph.split(node, 1 + value % (len(tokens) - 1))
            assert first.tokens + node.tokens == tokens
            assert graph.path(node) == [*path, first, node]
        elif kind == 4 and removable(graph):
            gone = removable(graph)[value % len(removable(graph))]
            behind = {gone, *gone.descendants()}
            assert set(graph.remove(gone)) == behind
            assert not behind & {graph.root, *graph}
        elif kind == 5:
            graph.tag(f"t{value % 5}", node)
        elif kind == 6 and graph.tags:
            graph.untag(min(graph.tags))
        seen |= {each.id for each in graph}
        check(graph)


def test_notes_are_copied_as_values() -> None:
    graph: Graph[Node] = Graph(Node)
    node = add(graph, role="user")
    assert type(copy.deepcopy(node.metadata)) is dict
