"""A check against a recording: what was said then is said here, too."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ....engine.adapters.values import key_of
from ....errors import ParameterError, shown
from ....history.notes import ADAPTERS
from ...adapters import adapters_beside
from ...reading import read
from ...recording import Recording
from ...replaying import check_vocabulary, replayed
from ...report import CheckpointReport, Report
from ...rule import LEVELS, MARGIN, TOLERANCE, Rule
from ...walk import Entry
from ..beside import beside
from .check import Check, Finding
from .followed import Way, followed
from .subject import Subject
from .words import check_text

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SameAs", "same_as"]

_MOST_SHOWN = 60  # characters of a text


@dataclass(frozen=True, slots=True, repr=False)
class SameAs(Check):
    """See :func:`same_as`.

    Attributes
    ----------
    folder : str or None
        Where a relative path begins; None: in the working directory.
    held : Recording or None
        What the file held when the check was made, so that it need not be where it is judged.
    """

    kind: ClassVar[str] = "same_as"
    file_schema: ClassVar[Mapping[str, Any]] = {
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "object",
                "properties": {
                    "recording": {"type": "string", "minLength": 1},
                    "level": {"enum": [*LEVELS]},
                    "margin": {"type": "number", "minimum": 0, "maximum": 1},
                    "tolerance": {"type": "number", "minimum": 0},
                },
                "additionalProperties": False,
            },
        ]
    }

    recording: str | None = None
    _: KW_ONLY
    level: str = "probabilities"
    margin: float = MARGIN
    tolerance: float = TOLERANCE
    folder: str | None = field(default=None, repr=False, compare=False)
    held: Recording | None = field(default=None, init=False, repr=False, hash=False)

    def __post_init__(self) -> None:
        if isinstance(self.recording, os.PathLike):
            object.__setattr__(self, "recording", os.fspath(self.recording))
        rule = Rule(self.level, self.margin, self.tolerance)
        object.__setattr__(self, "margin", float(rule.margin))
        object.__setattr__(self, "tolerance", float(rule.tolerance))
        if self.recording is not None:
            check_text("recording", self.recording)
            object.__setattr__(self, "folder", str(Path(self.folder or "").absolute()))
            object.__setattr__(self, "held", read(self._path()))

    @property
    def needs_answer(self) -> bool:
        """False: the recorded answers are forced."""
        return False

    def judge(self, subject: Subject) -> Finding:
        """Replay the recording behind the question, with the settings that the subject has."""
        context = subject.chat.context
        recording, path = self._recorded(subject)
        check_vocabulary(recording, context.model)
        if self.held is None:  # the case is the recording: all of it is meant
            way = Way(recording.entries, 0)
        else:
            held = tuple(t for c in subject.chat.tree.path(subject.question) for t in c.tokens)
            way = followed(recording.entries, held)
        if way.parted is not None:
            there, here = (
                shown(repr(context.model.detokenize(each, special=True)), _MOST_SHOWN)
                if each
                else "nothing"
                for each in way.parted
            )
            detail = (
                f"the question is not the recorded one: from its token {way.n_common} on there is "
                f"{there} in the recording and {here} here"
            )
            return self._found(passed=False, detail=detail, token=way.n_common)
        if not any(entry.steps for entry in way.entries):
            return self._found(
                passed=False, detail="the recording has the question, and no answer behind it"
            )
        adapters = [adapter.note() for adapter in subject.chat.adapters]
        kept = _with_adapters(_only(recording, way.entries), adapters)
        at_hand = [*adapters_beside(path, kept.entries), *context.known_adapters.at_hand]
        options = dataclasses.asdict(context.params)
        rule = Rule(self.level, self.margin, self.tolerance)
        report = replayed(kept, context.model, rule, options, adapters=at_hand)
        told = _telling(report)
        return self._found(
            passed=report.passed,
            detail=_detail(report, told, rule),
            value=report.quality.largest,
            token=None if told is None else told.token,
        )

    @classmethod
    def from_value(cls, value: Any, folder: Path | None = None) -> Self:
        """Return the check of its value in a file, in whose folder a relative path begins."""
        given = cls._given(value)
        if folder is None:
            return cls(**given)
        if isinstance(given.get("recording"), str):
            beside(folder, given["recording"])
        return cls(**given, folder=str(folder))

    def _path(self) -> Path:
        return Path(self.folder or "", self.recording or "")

    def _recorded(self, subject: Subject) -> tuple[Recording, Path]:
        """What the conversation is held against, and where it was."""
        if self.held is not None:
            return self.held, self._path()
        if subject.source is None:
            raise ParameterError(
                "same_as() without a recording is for cases that are one: name the recording, as "
                "in same_as('greeting.mullama.json')"
            )
        return subject.recording or read(subject.source), subject.source

    def _contents(self) -> tuple[str, ...]:
        return () if self.held is None else (repr(self.held.entries), repr(self.held.settings))

    def _arguments(self) -> dict[str, Any]:
        given = super(SameAs, self)._arguments()
        path = Path(self.recording or "")
        if path.is_absolute():  # what is shown is the same on every machine
            given["recording"] = path.name
        return given

    def _file_value(self) -> Any:
        given = super(SameAs, self)._arguments()
        return self.recording if [*given] == ["recording"] else given


def same_as(
    recording: str | os.PathLike[str] | None = None,
    *,
    level: str = "probabilities",
    margin: float = MARGIN,
    tolerance: float = TOLERANCE,
) -> Check:
    """Demand that a recorded answer is what the model says here.

    The recording has to hold the same question, token by token. Its answer is forced here with the
    case's model, settings and adapters and its own sampling, as :func:`replay` does; nothing is
    generated. The first token that would be drawn otherwise is named, with both texts from there.

    Parameters
    ----------
    recording : str or path, optional
        A ``*.mullama.json`` file, which is read at once. None: the recording that the case is.
    level : {"exact", "near-ties", "probabilities"}
        As for :func:`replay`, and so are ``margin`` and ``tolerance``.
    margin : float
        Of probability, between the two tokens of a near-tie.
    tolerance : float
        Of a token's log-probability, in nats.

    Raises
    ------
    RecordingError
        When the file is missing or damaged.
    ParameterError
        When a value is out of range.
    """
    if isinstance(recording, os.PathLike):
        recording = os.fspath(recording)
    return SameAs(recording, level=level, margin=margin, tolerance=tolerance)


def _only(recording: Recording, entries: Sequence[Entry]) -> Recording:
    """A recording without what a conversation does not follow."""
    ids = {entry.id for entry in entries}
    tags = {name: each for name, each in recording.tags.items() if each in ids}
    return dataclasses.replace(recording, entries=tuple(entries), tags=tags)


def _with_adapters(recording: Recording, notes: Sequence[Mapping[str, Any]]) -> Recording:
    """A recording as if it had been made with other adapters."""
    if {*map(key_of, notes)} == {*map(key_of, recording.entries[-1].noted.adapters)}:
        return recording
    entries = []
    for entry in recording.entries:
        rest = {key: value for key, value in entry.notes.items() if key != ADAPTERS}
        noted = rest | ({ADAPTERS: [*notes]} if notes else {})
        entries.append(dataclasses.replace(entry, notes=noted))
    return dataclasses.replace(recording, entries=tuple(entries))


def _telling(report: Report) -> CheckpointReport | None:
    """The checkpoint that tells most: the first that fails, or where a token differs."""
    for tells in (lambda c: not c.passed, lambda c: c.token is not None):
        found = next(filter(tells, report.checkpoints), None)
        if found is not None:
            return found
    return None


def _detail(report: Report, told: CheckpointReport | None, rule: Rule) -> str:
    n = report.quality.n_tokens
    words = [*report.problems]
    if told is not None and told.token is not None:
        there, here = (shown(repr(text), _MOST_SHOWN) for text in (told.recorded, told.here))
        words.append(f"from token {told.token} on, {there} was recorded and {here} is said here")
        if told.gap is not None:
            kind = "a near-tie" if told.is_near_tie else "a real change"
            words.append(f"the two were {told.gap:.3f} apart in probability, {kind}")
    largest, mean = report.quality.largest, report.quality.mean_difference
    if largest:
        allowed = f", of {rule.tolerance:g} allowed" if rule.level == "probabilities" else ""
        words.append(
            f"log-probabilities of {n} tokens differ by up to {largest:.2g} nats{allowed}, and by "
            f"{mean:.2g} on average"
        )
    return "; ".join(words) or f"{n} tokens are as likely as recorded, to the bit"
