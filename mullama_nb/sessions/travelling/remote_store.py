"""What lies where in a store elsewhere.

```
segments/{address}.segment                      as in a store here
sessions/{name}/{content}[.{entry}...].json     an entry: a session or chat as of one push
```

Every file is written once, and an entry after the segments that it needs. So whoever sees an entry
can read all of it, whatever others do meanwhile.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator

from blake3 import blake3

from ...errors import ParameterError, SessionFormatError, SessionNotFoundError
from ..names import check_name
from ..reading import ENDING, SEGMENTS, not_found
from ..records import ADDRESS
from .file_system import FileSystem
from .lineage import EntryName, Lineage, content_digest
from .manifest import MOST_BYTES, Manifest, damaged, parse_manifest
from .remote import Remote, parse_address
from .shared_folder import SharedFolder

__all__ = ["RemoteStore"]

_SESSIONS = "sessions"
_SUFFIX = re.compile("~[0-9a-f]{8}$")


class RemoteStore:
    """A store elsewhere: entries and segments.

    Parameters
    ----------
    url : str or path

    Raises
    ------
    ParameterError, SessionRemoteError
        When it is no place that can be used.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        place = parse_address(url)
        self._remote: Remote = (
            SharedFolder(place) if isinstance(place, os.PathLike) else FileSystem(place)
        )
        self._sizes: dict[tuple[str, str], int] = {}

    def __str__(self) -> str:
        return str(self._remote)

    # -- list --------------------------------------------------------------------------------

    def lineages(self, names: Iterable[str] | None) -> dict[str, Lineage]:
        """Return the entries of names, or of all names; a file that is no entry counts as none."""
        if names is None:
            folders = [_SESSIONS]
        else:
            folders = [f"{_SESSIONS}/{_folder(name)}" for name in names]
        found: dict[str, list[EntryName]] = {}
        files = [file for folder in folders for file in self._remote.files(folder).items()]
        for path, n_bytes in files:
            _, *parts = path.split("/")
            if len(parts) == 2:
                name, entry = _name(parts[0]), EntryName.parse(parts[1])
                if name is not None and entry is not None:
                    found.setdefault(name, []).append(entry)
                    self._sizes[name, entry.id] = n_bytes
        return {name: Lineage(found[name]) for name in sorted(found)}

    def segments(self) -> dict[str, int]:
        """Return the bytes of each segment that is there, by address."""
        found = {}
        for path, n_bytes in self._remote.files(SEGMENTS).items():
            address = path.removeprefix(f"{SEGMENTS}/").removesuffix(ENDING)
            if path == _segment_path(address) and ADDRESS.fullmatch(address):
                found[address] = n_bytes
        return found

    # -- read --------------------------------------------------------------------------------

    def entry_bytes(self, name: str, entry: EntryName) -> int:
        """Return the bytes of an entry that was listed."""
        return self._sizes[name, entry.id]

    def manifest(self, name: str, entry: EntryName) -> Manifest:
        """Return an entry that was listed, checked.

        Raises
        ------
        SessionFormatError
            When it is missing or damaged.
        """
        path = _entry_path(name, entry)
        n_bytes = self.entry_bytes(name, entry)
        if not 0 < n_bytes <= MOST_BYTES:
            raise damaged(path, f"it has {n_bytes:,} bytes, of {MOST_BYTES:,} at most")
        data = b"".join(self._remote.read(path, n_bytes))
        if content_digest(data) != entry.content:
            raise damaged(path, "its contents do not match its name")
        return parse_manifest(name, path, data)

    def segment(self, address: str, n_bytes: int) -> Iterator[bytes]:
        """Return a segment's file in parts, unchecked."""
        return self._remote.read(_segment_path(address), n_bytes)

    def missing_segment(self, address: str) -> SessionFormatError:
        """Return the error for a segment that an entry needs and that is not there."""
        return SessionFormatError(
            f"{_segment_path(address)} is missing in {self}. Push its session again from where it "
            "is whole"
        )

    def not_found(self, name: str) -> SessionNotFoundError:
        """Return the error for a name that has no entry."""
        error = not_found(name, [*self.lineages(None)])
        return SessionNotFoundError(f"{self}: {error}")

    # -- write -------------------------------------------------------------------------------

    def write_segment(self, address: str, data: bytes) -> None:
        """Write a segment's file."""
        self._remote.write(_segment_path(address), data)

    def write_entry(self, name: str, entry: EntryName, manifest: Manifest) -> None:
        """Write an entry, whose segments must be there."""
        self._remote.write(_entry_path(name, entry), manifest.data)


def _segment_path(address: str) -> str:
    return f"{SEGMENTS}/{address}{ENDING}"


def _entry_path(name: str, entry: EntryName) -> str:
    return f"{_SESSIONS}/{_folder(name)}/{entry.file}"


def _folder(name: str) -> str:
    """The folder of a name, also where "a" and "A" are the same folder."""
    if name == name.casefold():
        return name
    return f"{name}~{blake3(name.encode()).hexdigest(length=4)}"


def _name(folder: str) -> str | None:
    """The name that has a folder; None for a folder of something else."""
    folder = unicodedata.normalize("NFC", folder)  # some file systems take texts apart
    try:
        name = check_name(_SUFFIX.sub("", folder))
    except ParameterError:
        return None
    return name if _folder(name) == folder else None
