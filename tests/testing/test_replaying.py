"""Recordings replay the same, and say where they do not."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from testing.conversation import rewrite
from tiny_models import CHATML, make_model

from mullama_nb import Chat, CheckpointTree, Context, ContextParams, Model
from mullama_nb.errors import ModelNotFoundError, ParameterError
from mullama_nb.testing import Report, read, record, record_again, replay
from mullama_nb.testing.recording import write
from mullama_nb.testing.walk import walk

TINY = {"n_ctx": 256, "n_threads": 1}
SUMMARY = "6 checkpoints, 40 generated tokens"


def test_a_new_process_replays_it_to_the_bit(recording: Path) -> None:
    code = "from mullama_nb.testing import replay; print(replay(sys.argv[1], level='exact'))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}", recording],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == f"identical: {SUMMARY}", done.stderr


def test_it_names_the_first_token_that_q4_0_changes(
    recording: Path, smollm2: Model, coarse: Report
) -> None:
    report = coarse
    changed = next(c for c in report.checkpoints if c.token is not None)
    entry = next(e for e in read(recording).entries if changed.name.startswith(e.id[:7]))
    # Both texts begin where the tokens part, and the recorded one is the rest of the answer.
    assert smollm2.detokenize(entry.said[changed.token :], special=True) == changed.recorded
    assert changed.here
    assert changed.here != changed.recorded
    assert changed.gap is not None
    assert f"probability gap {changed.gap:.3f}" in str(report)
    assert report.settings == ("the KV cache type: f16 saved, q4_0 here",)
    assert not replay(recording, smollm2, "exact", kv_cache_type="q4_0").passed


def test_quality_falls_with_the_cache_type(recording: Path, smollm2: Model, coarse: Report) -> None:
    fine = replay(recording, smollm2, kv_cache_type="q8_0")
    assert fine.quality.n_tokens == 40
    assert 0 < fine.quality.mean_difference < coarse.quality.mean_difference
    assert coarse.quality.same_likeliest < 1
    assert str(coarse.quality) in str(coarse)


@pytest.fixture(scope="module")
def long_recording(smollm2: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More than 256 cells in use: from there on the number of threads changes the last bits."""
    path = tmp_path_factory.mktemp("long") / "long.mullama.json"
    chat = Chat(smollm2, n_ctx=512, temperature=0, n_threads=2, n_threads_batch=2)
    chat.ask(f"{'The gulls cry over the harbour. ' * 34}What do they do?", max_tokens=10)
    record(chat, path)
    assert chat.tree.head.stop > 256
    return path


def check_rounding(path: Path, model: Model, **other: int) -> bool:
    """Whether other settings round otherwise, and if so, that all levels but one allow it."""
    rounded = replay(path, model, "exact", **other)
    if not rounded.quality.largest:
        return False
    assert not rounded.passed
    assert not rounded.is_identical
    assert replay(path, model, "near-ties", **other).passed
    assert replay(path, model, "probabilities", **other).passed
    return True


def test_another_number_of_threads_passes_all_but_exact(
    long_recording: Path, smollm2: Model
) -> None:
    assert check_rounding(long_recording, smollm2, n_threads=1, n_threads_batch=1)


def test_another_batch_size_passes_all_but_exact(long_recording: Path, smollm2: Model) -> None:
    # Which sizes round otherwise depends on the CPU's kernels.
    sizes = (7, 1, 24)
    if not any(
        check_rounding(long_recording, smollm2, n_batch=size, n_ubatch=size) for size in sizes
    ):
        pytest.skip("no batch size rounds otherwise on this CPU")


def first_answer_alone(recording: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(recording.read_text("utf-8"))
    del body["entries"][3:]
    body["tags"].clear()
    return body


def test_a_near_tie_is_forced_and_comparing_goes_on(
    recording: Path, tmp_path: Path, smollm2: Model
) -> None:
    body = first_answer_alone(recording)
    entry = body["entries"][-1]
    second = entry["steps"][5][2][0]
    path = tmp_path / "tie.mullama.json"
    entry["tokens"][5] = second  # as if rounding had decided otherwise there
    entry["text"] = smollm2.detokenize(entry["tokens"], special=True)
    rewrite(path, body)
    record_forced(path, smollm2)
    gap = replay(path, smollm2, "near-ties").checkpoints[0].gap
    assert gap is not None
    below, above = (replay(path, smollm2, "near-ties", margin=gap * f) for f in (0.99, 1.01))
    assert below.checkpoints[0].token == above.checkpoints[0].token == 5
    assert (below.passed, above.passed) == (False, True)
    assert above.checkpoints[0].is_near_tie
    assert above.quality.n_tokens == 24
    assert above.quality.largest == 0


def record_forced(path: Path, model: Model) -> None:
    """Measure a changed file: its tokens are what they are, and what is drawn is not noted."""
    recording = read(path)
    with Context(model, ContextParams(**recording.params)) as context:
        found = walk(recording.entries, context, recording.template_options)
        entries = tuple(replace(e, steps=found.steps.get(e.id, ())) for e in recording.entries)
        write(replace(recording, entries=entries), path)


@pytest.mark.slow
def test_a_changed_text_is_no_recording_of_its_tokens(
    tiny_models: tuple[Model, Model], tmp_path: Path
) -> None:
    path = tmp_path / "tiny.mullama.json"
    chat = Chat(tiny_models[0], "be brief", temperature=0, **TINY)
    chat.ask("hello", max_tokens=8)
    chat.ask("and you", max_tokens=4)
    record(chat, path)
    sound = path.read_text("utf-8")
    assert replay(path, tiny_models[0], "exact").is_identical
    for n in range(len(json.loads(sound)["entries"])):
        body = json.loads(sound)
        body["entries"][n]["text"] += "."
        rewrite(path, body)
        for level in ("exact", "near-ties", "probabilities"):
            report = replay(path, tiny_models[0], level)
            assert not report.passed
            assert "its text was changed" in str(report)


def test_one_changed_token(recording: Path, smollm2: Model, tmp_path: Path) -> None:
    body = first_answer_alone(recording)
    entry = body["entries"][-1]
    entry["tokens"][5] = (entry["tokens"][5] + 1000) % smollm2.n_vocab
    changed = tmp_path / "changed.mullama.json"
    rewrite(changed, body)
    report = replay(changed, smollm2, "near-ties")
    assert not report.passed
    assert report.checkpoints[0].token == 5
    assert not replay(changed, smollm2).passed


def test_another_model_with_the_same_vocabulary(
    tiny_models: tuple[Model, Model], tmp_path: Path
) -> None:
    a, b = tiny_models
    chat = Chat(a, temperature=0, **TINY)
    chat.ask("hello", max_tokens=8)
    path = tmp_path / "tiny.mullama.json"
    record(chat, path)
    assert replay(path, a, "exact").is_identical
    report = replay(path, b)
    assert not report.passed
    assert report.settings[0].startswith("the weights: ")
    assert report.checkpoints[0].token == 0
    assert not report.checkpoints[0].is_near_tie


def test_another_vocabulary_is_refused(
    recording: Path, tiny_models: tuple[Model, Model], tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match="another vocabulary"):
        replay(recording, tiny_models[0])
    # Of the same size, too.
    other = Model.load(make_model(tmp_path / "o.gguf", "llama", n_vocab=tiny_models[0].n_vocab))
    chat = Chat(tiny_models[0], **TINY)
    chat.ask("hello", max_tokens=4)
    record(chat, tmp_path / "tiny.mullama.json")
    with pytest.raises(ParameterError, match="another vocabulary"):
        replay(tmp_path / "tiny.mullama.json", other)


def test_the_model_is_found_by_its_name_or_not_at_all(
    recording: Path, tiny_models: tuple[Model, Model], tmp_path: Path
) -> None:
    assert replay(recording).passed
    chat = Chat(tiny_models[0], **TINY)
    chat.ask("hello", max_tokens=2)
    record(chat, tmp_path / "tiny.mullama.json")
    with pytest.raises(ModelNotFoundError, match="'tiny0'"):
        replay(tmp_path / "tiny.mullama.json")


def test_an_end_that_does_not_come_is_a_difference(smollm2: Model, tmp_path: Path) -> None:
    chat = Chat(smollm2, n_ctx=256, temperature=0, n_threads=2, n_threads_batch=2)
    turn = chat.ask("Say only: yes.", max_tokens=40)
    assert turn.finish_reason == "stop"
    path = tmp_path / "end.mullama.json"
    entry = record(chat, path).entries[-1]
    assert entry.end == smollm2.vocabulary.eos
    assert len(entry.steps) == len(turn.tokens) + 1
    # Only the sampling differs: at the end of the answer its end token is forbidden.
    body = json.loads(path.read_text("utf-8"))
    body["entries"][-1]["notes"]["sampling"]["logit_bias"] = {str(entry.end): -100.0}
    rewrite(path, body)
    report = replay(path, smollm2, "near-ties")
    assert report.checkpoints[0].token == len(turn.tokens)
    assert report.checkpoints[0].recorded == "<|im_end|>"
    assert not report.passed


def test_answers_that_end_otherwise(smollm2: Model, tmp_path: Path) -> None:
    """By a stop string, which is not a token; by a limit of 0; stopped by nothing at all."""
    chat = Chat(smollm2, n_ctx=256, temperature=0, n_threads=2, n_threads_batch=2)
    word = chat.ask("Say only: yes.", max_tokens=5).text[:3]
    chat.regenerate(max_tokens=5, stop=word)
    chat.regenerate(max_tokens=0)
    path = tmp_path / "ends.mullama.json"
    recording = record(chat, path)
    assert [entry.end for entry in recording.entries if entry.is_generated][1:] == [None, None]
    assert replay(path, smollm2, "exact").is_identical
    assert replay(path, smollm2, kv_cache_type="q4_0").n_checkpoints == len(recording.entries)


@pytest.mark.slow
def test_every_kind_of_checkpoint_replays_to_the_bit(
    tiny_models: tuple[Model, Model], tmp_path: Path
) -> None:
    chat = Chat(tiny_models[0], "Be brief.", seed=1, **TINY)
    first = chat.ask("hello", max_tokens=8)
    chat.explore("and?", n=3, max_tokens=6)
    chat.fork(first, token=3, choose=" the", max_tokens=5)
    chat.resume(max_tokens=4)
    chat.ask("list", max_tokens=9, temperature=0, json_schema={"type": "array"})
    chat.edit("other", max_tokens=7, repetition_penalty=1.3, penalty_window=-1)
    chat.undo()
    chat.context.evaluate("plain text")
    path = tmp_path / "kinds.mullama.json"
    recording = record(chat, path)
    assert len(recording.entries) == len(chat.tree)
    assert read(path) == recording
    report = replay(path, tiny_models[0], "exact")
    assert report.is_identical, report
    # And it can be led again, which gives a conversation of the same shape.
    again = record_again(path, tiny_models[0])
    assert [e.notes.get("role") for e in again.entries] == [
        e.notes.get("role") for e in recording.entries
    ]
    assert replay(path, tiny_models[0], "exact").is_identical


def test_leading_it_again_heeds_stop_strings_and_limits(smollm2: Model, tmp_path: Path) -> None:
    chat = Chat(smollm2, n_ctx=512, temperature=0, n_threads=2, n_threads_batch=2)
    whole = chat.ask("Tell me a story about a lost map.", max_tokens=24).text
    chat.regenerate(max_tokens=24, stop=[whole[12:18], "never said"])
    vocabulary, tokens = smollm2.vocabulary, chat.head.parent.children[0].tokens
    assert not vocabulary.is_end(tokens[4])
    chat.regenerate(stop_tokens=[tokens[4]])
    chat.explore(n=2, max_tokens=24, stop=whole[12:18])
    path = tmp_path / "stops.mullama.json"
    recording = record(chat, path)
    again = record_again(path, smollm2)
    answers, led = ([e for e in r.entries if e.is_generated] for r in (recording, again))
    assert [entry.notes["finish_reason"] for entry in answers] == ["length"] + ["stop"] * 4
    assert [entry.notes["limits"] for entry in led] == [e.notes["limits"] for e in answers]
    for entry, other in zip(answers[:3], led, strict=False):  # explored ones differ in last bits
        assert (other.tokens, other.notes) == (entry.tokens, entry.notes)
    assert answers[1].limits.stop_texts == (whole[12:18], "never said")
    assert answers[2].limits.changed() == {"stop_tokens": [tokens[4]]}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["gemma3", "mamba", "lfm2"])
def test_other_kinds_of_memory(architecture: str, tmp_path: Path) -> None:
    model = Model.load(make_model(tmp_path / "m.gguf", architecture))
    tree = CheckpointTree(Context(model, ContextParams(n_ctx=256, n_threads=1)))
    tree.context.evaluate("hello you there ")
    home = tree.commit()
    for text in ("one two three", "four five six " * 6):
        tree.checkout(home)
        tree.fork(choose=text)
    path = tmp_path / "m.mullama.json"
    record(tree, path)
    assert replay(path, model, "exact").is_identical


def test_a_text_can_be_scored_under_other_cache_types(smollm2: Model, tmp_path: Path) -> None:
    tree = CheckpointTree(Context(smollm2, ContextParams(n_ctx=256, n_threads=2)))
    tree.context.evaluate("The ferry left the harbour at six in the morning,")
    text = " when the fog still lay on the water."
    n_tokens = len(smollm2.tokenize(text))
    tree.fork(choose=text)
    path = tmp_path / "story.mullama.json"
    record(tree, path)
    report = replay(path, smollm2, kv_cache_type="q8_0")
    assert report.quality.n_tokens == n_tokens
    assert all(c.token is None for c in report.checkpoints)  # nothing was drawn


def test_the_file_is_private_and_small(recording: Path) -> None:
    assert recording.stat().st_mode & 0o777 == 0o600
    assert recording.stat().st_size < 20_000
    assert [path.name for path in recording.parent.iterdir()] == [recording.name]


@pytest.mark.parametrize(
    "bad", [{"level": "close"}, {"margin": 2}, {"tolerance": -1}, {"tolerance": float("nan")}]
)
def test_levels_are_checked_first(bad: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=next(iter(bad))):
        replay("nowhere.mullama.json", "nosuch", **bad)


def test_unknown_options_are_named(recording: Path, smollm2: Model) -> None:
    with pytest.raises(TypeError, match="n_ctx"):
        replay(recording, smollm2, nctx=5)


def test_a_grammar_behind_a_given_beginning_is_followed_where_the_answer_was_cut(
    tiny: ModelMaker, tmp_path: Path
) -> None:
    """It begins behind what does not follow it, once, and not again at each cut."""
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=512, n_threads=1, seed=3)
    fields = {name: {"type": "string"} for name in "ab"}
    schema = {"type": "object", "properties": fields, "required": ["a", "b"]}
    how: dict[str, Any] = {"json_schema": schema, "temperature": 1.5, "max_tokens": 20}
    asked = [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": "Sure: "}]
    turn = chat.ask(asked, **how)
    for at in (-3, -8, -14):
        chat.fork(turn, token=at, **how)
    record(chat, tmp_path / "cut.mullama.json")
    assert [e.drawn for e in read(tmp_path / "cut.mullama.json").entries if e.drawn] == []
    assert replay(tmp_path / "cut.mullama.json", chat.model, "exact").passed
