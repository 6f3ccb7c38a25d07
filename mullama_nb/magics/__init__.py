"""``%load_ext mullama_nb``: a chat through magics."""

from .commands import MullamaMagics, load

__all__ = ["MullamaMagics", "load"]
