"""Check the built site without a network: ``python tools/site_links.py FOLDER``.

Every link to a page, a file or a place in a page leads there, and no page loads anything from
elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {"audio", "iframe", "img", "script", "source", "video"}
_LOADED_LINKS = {"icon", "preload", "stylesheet"}


class _Page(HTMLParser):
    """The places of a page, what it links to, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element is, links to or loads."""
        values = {name: value for name, value in attrs if value}
        self.places |= {values[name] for name in ("id", "name") if name in values}
        source = values.get("src") if tag in _LOADED else None
        if tag == "link" and _LOADED_LINKS & set(values.get("rel", "").split()):
            source = values.get("href")
        if source is not None:
            self.loaded.append(source)
        elif tag == "a" and "href" in values:
            self.links.append(values["href"])


def faults(folder: Path) -> Iterator[str]:
    """Yield each link that leads nowhere, and each thing that is loaded from elsewhere."""
    paths = (path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts)
    pages = {path.resolve(): _Page(path) for path in paths}
    for path, page in pages.items():
        name = path.relative_to(folder.resolve())
        for source in page.loaded:
            if urlsplit(source).netloc:
                yield f"{name}: loads {source}"
        for link in [*page.links, *page.loaded]:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            place = unquote(url.fragment)
            if not target.exists():
                yield f"{name}: {link} is not there"
            elif place and target in pages and place not in pages[target].places:
                yield f"{name}: {link} names no place of that page"


def main() -> None:
    """Print the faults of a site, and fail where there are any."""
    folder = Path(sys.argv[1])
    if not list(folder.rglob("*.html")):
        raise SystemExit(f"There are no pages in {folder}.")
    found = list(faults(folder))
    print(*found, sep="\n", end="\n" if found else "")
    if found:
        raise SystemExit(f"{len(found)} links of the site in {folder} lead nowhere.")


if __name__ == "__main__":
    main()
