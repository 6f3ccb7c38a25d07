"""A recording that is cut short, damaged or hostile gives an error in words, and nothing is run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testing.conversation import rewrite

from mullama_nb.errors import MullamaError
from mullama_nb.testing import RecordingError, read, replay

Body = dict[str, Any]


def generated(body: Body) -> Body:
    return next(entry for entry in body["entries"] if entry["steps"])


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


HOSTILE: dict[str, Callable[[Body], object]] = {
    "another version": lambda b: b.update(mullama_recording=99),
    "no entries": lambda b: b.pop("entries"),
    "entries that are none": lambda b: b.update(entries=None),
    "an entry that is none": lambda b: b.update(entries=[1]),
    "an unknown key": lambda b: b.update(exec="import os"),
    "a tag on nothing": lambda b: b.update(tags={"end": "0000"}),
    "a tag on a list": lambda b: b.update(tags={"end": [1]}),
    "a negative context": lambda b: b["params"].update(n_ctx=-5),
    "a huge context": lambda b: b["params"].update(n_ctx=2**31 - 1),
    "a context that is too small": lambda b: b["params"].update(n_ctx=8),
    "an unknown parameter": lambda b: b["params"].update(unknown=1),
    "a cache type of another kind": lambda b: b["params"].update(kv_cache_type=[1, 2, 3]),
    "a control character in a setting": lambda b: b["environment"].update(build="\x1b[2J"),
    "a model's name of two lines": lambda b: b.update(model="a\nb"),
    "tools of another kind": lambda b: b.update(tools=["x"]),
    "an id twice": lambda b: b["entries"][1].update(id=b["entries"][0]["id"], parent=None),
    "an id of another kind": lambda b: b["entries"][0].update(id="../../x"),
    "a parent that comes later": lambda b: b["entries"][0].update(parent=b["entries"][1]["id"]),
    "a negative token": lambda b: b["entries"][0]["tokens"].append(-1),
    "a token of another kind": lambda b: b["entries"][0]["tokens"].append(True),
    "a huge token": lambda b: b["entries"][0]["tokens"].append(10**400),
    "a step too few": lambda b: generated(b)["steps"].pop(),
    "no steps at all": lambda b: generated(b)["steps"].clear(),
    "a step without a number": lambda b: generated(b)["steps"][0].clear(),
    "a probability above 1": lambda b: generated(b)["steps"][0].__setitem__(0, 5.0),
    "a probability of nothing": lambda b: generated(b)["steps"][0].__setitem__(0, -1e400),
    "a likely token of another kind": lambda b: generated(b)["steps"][0].__setitem__(1, "x"),
    "answers to nothing": lambda b: generated(b).update(parent=None),
    "notes that nest": lambda b: generated(b)["notes"].update(x=nested(100)),
    "notes that are large": lambda b: generated(b)["notes"].update(x="x" * 2**21),
    "half a character": lambda b: generated(b).update(text="\ud800"),
    "limits of another kind": lambda b: generated(b)["notes"].update(limits=[1]),
    "limits out of range": lambda b: generated(b)["notes"].update(limits={"max_tokens": -1}),
    "unknown limits": lambda b: generated(b)["notes"].update(limits={"stops": "."}),
    "sampling of another kind": lambda b: generated(b)["notes"].update(sampling=[1]),
    "sampling out of range": lambda b: generated(b)["notes"].update(sampling={"top_p": 7}),
    "an answer without its sampling": lambda b: generated(b)["notes"].pop("sampling"),
    "sampling of what was not generated": lambda b: generated(b).update(
        generated=False, steps=[], notes=generated(b)["notes"]
    ),
    "unknown sampling": lambda b: generated(b)["notes"].update(sampling={"temprature": 7}),
    "a bias without a token": lambda b: generated(b)["notes"].update(
        sampling={"logit_bias": {"x": 1}}
    ),
    "a window of gigabytes": lambda b: generated(b)["notes"].update(
        sampling={"penalty_window": 2**31 - 1}
    ),
    "a deep grammar": lambda b: generated(b)["notes"].update(
        sampling={"grammar": f"root ::= {'(' * 9999}"}
    ),
    "a sibling below zero": lambda b: generated(b)["notes"].update(sibling=-1),
    "a message of another kind": lambda b: generated(b)["notes"].update(message="x"),
    "a history of another kind": lambda b: generated(b)["notes"].update(history=[1]),
    "a role of another kind": lambda b: generated(b)["notes"].update(role=["user"]),
    "an end without a probability": lambda b: b["entries"][0].update(end=2),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file(recording: Path, tmp_path: Path, what: str) -> None:
    body = json.loads(recording.read_text("utf-8"))
    HOSTILE[what](body)
    path = tmp_path / "hostile.mullama.json"
    path.write_text(json.dumps(body), "utf-8")
    with pytest.raises(
        RecordingError, match=r"^hostile\.mullama\.json: .*record it anew$"
    ) as caught:
        read(path)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_file_that_was_cut_short(recording: Path, tmp_path: Path, share: float) -> None:
    data = recording.read_bytes()
    cut = tmp_path / "cut.mullama.json"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(RecordingError, match="cut short"):
        read(cut)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 200_000, "not JSON"),
        ("\ufeff{}", "not JSON"),
        ('{"mullama_recording": NaN}', "NaN"),
        ("[]", "not a recording"),
        ("{}", "not a recording"),
        (f'{{"mullama_recording": {"9" * 5000}}}', "not JSON"),
    ],
    ids=["nested", "marked", "nan", "list", "empty", "long"],
)
def test_a_file_of_another_kind(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "other.mullama.json"
    path.write_text(text, "utf-8")
    with pytest.raises(RecordingError, match=reason):
        read(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no such file"):
        read(tmp_path / "none.mullama.json")
    with pytest.raises(RecordingError, match="cannot be read"):
        read(tmp_path)
    pipe = tmp_path / "pipe.mullama.json"
    os.mkfifo(pipe)
    with pytest.raises(RecordingError, match="pipe"):
        read(pipe)
    large = tmp_path / "large.mullama.json"
    with large.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(RecordingError, match="larger"):
        read(large)


def test_every_byte_may_be_damaged(recording: Path, tmp_path: Path) -> None:
    """A damaged file is refused, or is a sound recording of something else; nothing in between."""
    data = recording.read_bytes()
    path = tmp_path / "damaged.mullama.json"
    refused = []
    for at in range(0, len(data), max(1, len(data) // 400)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            assert read(path).entries
        except RecordingError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all(message.startswith("damaged.mullama.json: ") for message in refused)


def test_a_token_beyond_the_vocabulary(recording: Path, tmp_path: Path) -> None:
    body = json.loads(recording.read_text("utf-8"))
    body["entries"][0]["tokens"][0] = 2**31 - 1
    path = tmp_path / "beyond.mullama.json"
    rewrite(path, body)
    with pytest.raises(MullamaError, match="another vocabulary"):
        replay(path, "smollm2")
