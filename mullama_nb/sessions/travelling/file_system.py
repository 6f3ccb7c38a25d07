"""A store elsewhere that fsspec reaches: a bucket, a server, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ...errors import (
    MullamaError,
    ParameterError,
    SessionFormatError,
    SessionRemoteError,
    shown,
)
from .remote import CHUNK, Address, Remote

__all__ = ["FileSystem"]

T = TypeVar("T")


class FileSystem(Remote):
    """Objects of a filesystem of fsspec.

    Object stores write an object whole or not at all. Where a filesystem does not (FTP, SFTP), what
    a killed push left is of the wrong size, and the next one writes it again.

    Parameters
    ----------
    address : Address

    Raises
    ------
    ParameterError
        When fsspec does not know the protocol.
    SessionRemoteError
        When a package is missing, or the place cannot be reached.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._fs, root = self._opened()
        self._root = root.rstrip("/")

    def __str__(self) -> str:
        return str(self._address)

    def _opened(self) -> tuple[Any, str]:
        address = self._address
        try:
            from fsspec.core import url_to_fs

            fs, root = url_to_fs(address.url)
        except ImportError as error:
            why = shown(address.without_secrets(str(error)), 200)
            failure: MullamaError = SessionRemoteError(
                f"{address} needs a package that is missing: pip install 'mullama-nb[remote]' has "
                f"what S3 needs ({why})"
            )
        except ValueError as error:
            why = shown(address.without_secrets(str(error)), 200)
            failure = ParameterError(f"{address} is no place that fsspec knows: {why}")
        except Exception as error:
            failure = address.failure("could not reach", error)
        else:
            return fs, str(root)
        raise failure

    def files(self, folder: str) -> dict[str, int]:
        """Return the files anywhere under a folder, and their bytes."""

        def listed() -> dict[str, Any]:
            self._fs.invalidate_cache()  # others write there, too
            try:
                return dict(self._fs.find(self._path(folder), detail=True))
            except FileNotFoundError:
                return {}

        found, start = dict[str, int](), self._path("").lstrip("/")
        for path, info in self._do(f"could not list {folder} in", listed).items():
            path = path.lstrip("/")
            size = info.get("size")
            if path.startswith(start) and isinstance(size, int):
                found[path[len(start) :]] = size
        return found

    def read(self, path: str, n_bytes: int) -> Iterator[bytes]:
        """Return a file's contents, in parts."""
        for start in range(0, n_bytes, CHUNK):
            stop = min(start + CHUNK, n_bytes)
            is_last = stop == n_bytes
            data = self._part(path, n_bytes, start, stop + is_last)
            if len(data) != stop - start:
                than = "longer" if len(data) > stop - start else "shorter"
                raise SessionFormatError(
                    f"{path} is damaged: it is {than} than the {n_bytes:,} bytes it should have"
                )
            yield data

    def _part(self, path: str, n_bytes: int, start: int, stop: int) -> bytes:
        """Read a part; where that fails, find out whether the object is to blame."""

        def read() -> bytes:
            return bytes(self._fs.cat_file(self._path(path), start=start, end=stop))

        try:
            return self._do(f"could not read {path} from", read, missing=path)
        except SessionRemoteError as error:
            failure = error
        try:
            size = self._do("", lambda: self._fs.info(self._path(path))["size"])
        except MullamaError:
            raise failure from None
        if size != n_bytes:
            raise SessionFormatError(
                f"{path} is damaged: it has {size:,} bytes where {n_bytes:,} should be"
            )
        raise failure

    def write(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all where the place can do that."""

        def write() -> None:
            try:
                self._fs.pipe_file(self._path(path), data)
            except FileNotFoundError:  # folders are needed, or the bucket is missing
                self._make_folders(path)
                self._fs.pipe_file(self._path(path), data)

        self._do(f"could not write {path} to", write)

    def _make_folders(self, path: str) -> None:
        """Make the folders of a file, and the last one of the URL; never a bucket."""
        parts = path.split("/")[:-1]
        for n in range(len(parts) + 1):
            folder = "/".join([self._root, *parts[:n]])
            if "/" in folder.strip("/"):
                try:
                    self._fs.mkdir(folder, create_parents=False)
                except FileExistsError:
                    continue

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _do(self, what: str, call: Callable[[], T], *, missing: str | None = None) -> T:
        """Call something; what a filesystem raises is not specified, and is put into words."""
        try:
            return call()
        except MullamaError:
            raise
        except Exception as error:
            if missing is not None and isinstance(error, FileNotFoundError):
                failure: MullamaError = SessionFormatError(f"{missing} is missing there")
            else:
                failure = self._address.failure(what, error)
        raise failure  # not while the other is handled, which may show credentials
