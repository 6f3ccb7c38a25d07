"""Code in a model's answers, coloured by what its words are."""

from __future__ import annotations

import html
from functools import lru_cache

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES

__all__ = ["CLASSES", "colour_code"]

CLASSES = {name for name in STANDARD_TYPES.values() if name}
"""Classes that Pygments gives to words; style sheets say what they look like."""

_MOST_CHARACTERS = 20_000  # of a block that is coloured: it is done again while it grows
# What models write often, so that a text cannot choose among all the lexers that there are.
_LANGUAGES = {
    *("bash", "sh", "shell", "zsh", "console", "powershell", "bat", "dockerfile", "makefile"),
    *("c", "cpp", "c++", "cmake", "csharp", "c#", "cs", "cuda", "go", "java", "kotlin", "rust"),
    *("rs", "scala", "swift", "zig", "python", "py", "python3", "pycon", "ipython", "cython"),
    *("javascript", "js", "typescript", "ts", "jsx", "tsx", "html", "css", "scss", "xml"),
    *("json", "yaml", "yml", "toml", "ini", "diff", "markdown", "md", "latex", "tex"),
    *("sql", "sqlite3", "postgresql", "mysql", "graphql", "r", "julia", "matlab", "octave"),
    *("fortran", "haskell", "ocaml", "elixir", "erlang", "clojure", "lisp", "scheme", "prolog"),
    *("lua", "perl", "php", "ruby", "rb", "dart", "nix", "nasm", "verilog", "jinja"),
}
_FORMATTER = HtmlFormatter(nowrap=True)


def colour_code(code: str, language: str, _attributes: str = "") -> str:
    """Return a block of code as HTML, with a class for each word whose kind is known.

    Parameters
    ----------
    code : str
        Not trusted.
    language : str
        As the text names it; one that is not known leaves the code without colours.
    """
    lexer = _lexer(language.strip().lower())
    if lexer is None or len(code) > _MOST_CHARACTERS:
        words = html.escape(code)
    else:
        words = highlight(code, lexer, _FORMATTER)
    return f'<pre class="highlight"><code>{words}</code></pre>'


@lru_cache(maxsize=len(_LANGUAGES))
def _lexer(language: str) -> Lexer | None:
    if language not in _LANGUAGES:
        return None
    # The code stays as it is, so that it can be copied.
    return get_lexer_by_name(language, stripnl=False, ensurenl=False)
