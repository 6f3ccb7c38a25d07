"""A store that can be pushed elsewhere and pulled from there."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ...progress import Progress
from ..reading import StoreReader
from .pulling import pull
from .pushing import push
from .transfer import Transfer

__all__ = ["TravellingStore"]


class TravellingStore(StoreReader):
    """What a store does with one elsewhere.

    Parameters
    ----------
    folder : str or path, optional
        None: in the user's data folder.
    """

    def push(
        self,
        url: str | os.PathLike[str],
        names: str | Iterable[str] | None = None,
        *,
        progress: Progress = None,
    ) -> Transfer:
        """Push sessions to a store elsewhere; see ``SessionManager.push``."""
        return push(self, url, names, progress=progress)

    def pull(
        self,
        url: str | os.PathLike[str],
        names: str | Iterable[str] | None = None,
        *,
        replace: bool = False,
        progress: Progress = None,
    ) -> Transfer:
        """Pull sessions from a store elsewhere; see ``SessionManager.pull``."""
        return pull(self, url, names, replace=replace, progress=progress)
