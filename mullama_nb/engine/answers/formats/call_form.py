"""The form of calls: what a template writes around their names and their JSON arguments."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["CallForm"]


@dataclass(frozen=True)
class CallForm:
    """What stands between the opening mark and the closing one.

    Attributes
    ----------
    opens : str
        The opening mark; empty where it is a header, which has the name.
    before, between, after : str
        What stands before a name, between it and the arguments, and behind these, with the closing
        mark.
    joint : str, optional
        What stands between the arguments of one call and the name of the next one that the same
        marks are around; None where each call has its own.
    call_id : str
        What stands for an id in them; empty where there are no ids.
    """

    opens: str
    before: str = ""
    between: str = ""
    after: str = ""
    joint: str | None = None
    call_id: str = ""

    @classmethod
    def read(
        cls, once: str, twice: str, call: tuple[str, str, str], opens: str, closes: str
    ) -> CallForm | None:
        """Return the form of a call that was rendered; None where it is not one of JSON.

        Parameters
        ----------
        once, twice : str
            An answer with the call, and one with two of it, or nothing.
        call : tuple of str
            Its name, its arguments as a pattern, and its id.
        opens, closes : str
            The marks.
        """
        name, arguments, call_id = call
        at = once.find(opens)
        found = re.search(rf"(.*?){name}(.*?){arguments}", once[at + len(opens) :], re.DOTALL)
        if at < 0 or found is None:
            return None
        before, between = found.groups()
        end = at + len(opens) + found.end()
        after = once[end:]
        if closes:
            if closes not in after:
                return None
            after = after[: after.index(closes) + len(closes)]
        more = re.match(rf"(.*?){name}{re.escape(between)}{arguments}", twice[end:], re.DOTALL)
        if more is None and twice.count(name) > 1:
            return None  # calls are numbered, for instance
        joint = None
        if more is not None and twice[:end] == once[:end] and not (closes and closes in more[1]):
            joint = more[1]
        if name in between + after:
            return None
        has_id = any(call_id in text for text in (before, between, after))
        return cls(opens, before, between, after, joint, call_id if has_id else "")
