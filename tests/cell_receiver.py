"""The other side of the cell map's messages: what a view makes of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

__all__ = ["Receiver", "sent_bytes"]

SENT_AS = {
    "token_ids": "<i4",
    "lanes": "<i4",
    "rows": "<i4",
    "tokens": "<u4",
    "probabilities": "<f4",
    "stops": "<i4",
    "bytes": "<f8",
    "role_runs": "<i4",
    "place_runs": "<i4",
    "again": "<i4",
}


def sent_bytes(message: dict[str, Any]) -> int:
    """What a message takes: its arrays, and the rest as JSON."""
    arrays = [message.get(name, b"") for name in SENT_AS]
    rest = {name: value for name, value in message.items() if name not in SENT_AS}
    return sum(map(len, arrays)) + len(json.dumps(rest, ensure_ascii=False).encode())


class Receiver:
    """Strips as they were told, each a dict; knows nothing but the description of the messages."""

    def __init__(self) -> None:
        self.strips: dict[int, dict[str, Any]] = {}
        self.lanes: dict[int, int] = {}
        self.table: dict[int, tuple[int, str]] = {}
        self.names: dict[int, str] = {}
        self.facts: dict[str, Any] = {}
        self.place_names: list[str] = []

    def receive(self, message: dict[str, Any]) -> None:
        told = {k: v for k, v in message.items() if k not in SENT_AS}
        told = json.loads(json.dumps(told))  # nothing but what JSON holds
        for name, kind in SENT_AS.items():
            told[name] = np.frombuffer(message.get(name, b""), kind).tolist()
        if told["whole"]:
            Receiver.__init__(self)
        names = ("n_ctx", "n_used", "memory", "window", "keeps_states")
        self.facts |= {name: told[name] for name in names if name in told}
        self.place_names = told.get("places", self.place_names)
        for name in ("texts", "names", "gone", "checkpoints"):
            told.setdefault(name, [])
        entries = zip(told["token_ids"], told["texts"], strict=True)
        self.table |= dict(enumerate(entries, told.get("first_text", 0)))
        self.names |= dict(enumerate(told["names"], told.get("first_name", 0)))
        for number in told["gone"]:
            self.strips.pop(number, None)
            self.lanes.pop(number, None)
        self.lanes |= dict(zip(told["lanes"][::2], told["lanes"][1::2], strict=True))
        cursors = dict.fromkeys(("tokens", "checkpoints", "role_runs", "place_runs"), 0)

        def take(name: str, n: int, width: int = 1) -> slice:
            start = cursors[name]
            cursors[name] = start + n * width
            return slice(start, cursors[name])

        def pairs(name: str, n: int) -> list[tuple[int, int]]:
            values = told[name][take(name, n, 2)]
            return list(zip(values[::2], values[1::2], strict=True))

        for i, identifier in enumerate(told["strips"]):
            number, parent, start, n_tokens, n_kept, n_active, n_old, n_new, n_roles, n_places = (
                told["rows"][10 * i : 10 * i + 10]
            )
            old = self.strips.get(number) or {"tokens": [], "roles": [], "checkpoints": []}
            where = take("tokens", n_tokens - n_kept)
            said = zip(told["tokens"][where], told["probabilities"][where], strict=True)
            tokens = old["tokens"][:n_kept] + [
                (*self.table[index], None if p != p else p) for index, p in said
            ]
            where = take("checkpoints", n_new)
            columns = (told[name][where] for name in ("checkpoints", "stops", "bytes"))
            roles = old["roles"][:n_kept]
            for stop, name in pairs("role_runs", n_roles):
                roles += [self.names[name]] * (stop - len(roles))
            places: list[str] = []
            for stop, place in pairs("place_runs", n_places):
                places += [self.place_names[place]] * (stop - len(places))
            self.strips[number] = {
                "id": identifier,
                "parent": None if parent < 0 else parent,
                "start": start,
                "n_active": n_active,
                "tokens": tokens,
                "checkpoints": old["checkpoints"][:n_old] + list(zip(*columns, strict=True)),
                "roles": roles,
                "places": places,
                "again": [],
            }
        again = np.reshape(told["again"], (-1, 3)).tolist()
        for number, start, stop in again:
            self.strips[number]["again"].append((start, stop))
        assert cursors["tokens"] == len(told["tokens"]) == len(told["probabilities"])
        assert cursors["checkpoints"] == len(told["checkpoints"])
        assert cursors["role_runs"] == len(told["role_runs"])
        assert cursors["place_runs"] == len(told["place_runs"])

    def in_order(self) -> list[dict[str, Any]]:
        """Strips as a walk from the root meets them, the lower lane first."""
        found, behind = [], {}
        for number in sorted(self.strips, key=lambda number: self.lanes[number]):
            behind.setdefault(self.strips[number]["parent"], []).append(number)
        stack = behind.get(None, [])[::-1]
        while stack:
            number = stack.pop()
            found.append({**self.strips[number], "number": number, "lane": self.lanes[number]})
            stack += behind.get(number, [])[::-1]
        assert len(found) == len(self.strips)
        return found
