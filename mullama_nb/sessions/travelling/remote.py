"""A store elsewhere as its files: how they are reached, and what is said where they are not."""

from __future__ import annotations

import os
import re
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from ...errors import ParameterError, SessionRemoteError, shown

__all__ = ["CHUNK", "Address", "Remote", "parse_address"]

CHUNK = 16 << 20
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//)?")
_HIDDEN = "***"


class Remote(ABC):
    """Files under paths, each of which is written as a whole.

    Nothing else is needed: no locks, no renaming, no conditional writing, and no removing.
    """

    @abstractmethod
    def files(self, folder: str) -> dict[str, int]:
        """Return the files anywhere under a folder, and their bytes.

        Raises
        ------
        SessionRemoteError
            When they cannot be listed. A folder that is not there has none.
        """

    @abstractmethod
    def read(self, path: str, n_bytes: int) -> Iterator[bytes]:
        """Return a file's contents, in parts.

        Parameters
        ----------
        path : str
        n_bytes : int
            The file's size; no more is read.

        Raises
        ------
        SessionFormatError
            When it is missing, or of another size.
        SessionRemoteError
            When it cannot be read.
        """

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all where the place can do that.

        Raises
        ------
        SessionRemoteError, SessionWriteError
            When it cannot be written.
        """


class Address:
    """A URL, and what may be said of it.

    Parameters
    ----------
    url : str

    Attributes
    ----------
    url : str
    scheme : str
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.scheme, _, rest = url.partition("://")
        rest, _, query = rest.partition("?")
        secrets = [query]
        first, at = rest.partition("/")[0], rest.rfind("@")
        if at >= 0 and ("@" in first or ":" in first):  # a secret may have slashes and more
            secrets += [rest[:at], *rest[:at].split(":")]
            rest = f"{_HIDDEN}@{rest[at + 1 :]}"
        self._shown = f"{self.scheme}://{rest}"
        known = {each for secret in secrets for each in (secret, urllib.parse.unquote(secret))}
        self._secrets = sorted(known - {""}, key=len, reverse=True)

    def __str__(self) -> str:
        """Return the URL without credentials, for messages."""
        return shown(self._shown, 120)

    __repr__ = __str__

    def without_secrets(self, text: str) -> str:
        """Return a text with the URL's credentials taken out."""
        text = text.replace(self.url, self._shown)
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return text

    def failure(self, what: str, error: BaseException) -> SessionRemoteError:
        """Return what to raise where a file system raised an error, in words.

        It must not be raised while the other one is handled, which could show the URL.
        """
        if isinstance(error, PermissionError):
            why = "access is denied"
        elif isinstance(error, FileNotFoundError):
            why = "there is no such place"
        elif isinstance(error, NotADirectoryError):
            why = "a file is in the way of a folder"
        else:
            text = (isinstance(error, OSError) and error.strerror) or str(error)
            why = shown(self.without_secrets(text), 300) or type(error).__name__
        return SessionRemoteError(
            f"{what} {self}: {why}. What is here is as it was, and what is there is whole; the "
            "same call goes on from there"
        )


def parse_address(url: str | os.PathLike[str]) -> Path | Address:
    """Return where a URL leads: to a folder of this machine, or elsewhere.

    Raises
    ------
    ParameterError
        When it is no URL that can be used.
    """
    if isinstance(url, os.PathLike):
        return Path(url).expanduser()
    if not isinstance(url, str) or not url.strip():
        raise ParameterError(
            f"a store elsewhere is given by a URL such as 's3://bucket/class', or a folder, not "
            f"{shown(url)}"
        )
    found = _SCHEME.match(url)
    if found is None:
        return Path(url).expanduser()
    scheme = found[1].lower()
    if found[2] is None or "::" in url:
        what = "chains filesystems" if "::" in url else "has no // behind its protocol"
        raise ParameterError(f"a URL that {what} cannot be used: write it as {scheme}://...")
    if scheme in ("file", "local"):
        parts = urllib.parse.urlsplit(url)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise ParameterError(f"{shown(url)} names no folder of this machine: file:///folder")
        return Path(urllib.request.url2pathname(parts.path))
    return Address(url)
