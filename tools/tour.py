"""The picture that moves: a question in JupyterLab, its answer, undo, and a sibling in the tree."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

__all__ = ["make_tour"]

_CELLS = (
    """
from mullama_nb import Chat
chat = Chat("smollm2", system="Answer in one short sentence.", n_ctx=1024, seed=1)
first = chat.ask("What is a good hobby for a rainy day?", max_tokens=32, echo=False)
chat.regenerate(max_tokens=32, echo=False)
""",
    "chat",
)
_QUESTION = "And for a sunny day?"
_READ = 1400  # milliseconds that a picture is looked at
_WIDTH = 860  # pixels
_COLOURS = 96
_MOST_BYTES = 2_000_000


@dataclass
class _Film:
    """Pictures of one place of a page, each with the milliseconds that it is shown."""

    page: Any
    box: dict[str, float]
    pictures: list[Image.Image] = field(default_factory=list)
    times: list[int] = field(default_factory=list)

    def take(self, milliseconds: int, pointer: tuple[float, float] | None = None) -> None:
        """Add what the page shows now, and where the pointer is."""
        data = self.page.screenshot(clip=self.box)
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        if pointer is not None:
            x, y = pointer[0] - self.box["x"], pointer[1] - self.box["y"]
            drawing = ImageDraw.Draw(picture, "RGBA")
            drawing.ellipse((x - 11, y - 11, x + 11, y + 11), fill=(240, 120, 0, 110))
        scale = min(1, _WIDTH / picture.width)
        size = (round(picture.width * scale), round(picture.height * scale))
        self.pictures.append(picture.resize(size, Image.Resampling.LANCZOS))
        self.times.append(milliseconds)

    def click(self, target: Any) -> None:
        """Show where the pointer goes, then press."""
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        place = (box["x"] + min(box["width"] / 2, 120), box["y"] + box["height"] / 2)
        self.take(500, place)
        self.page.mouse.click(*place)
        self.page.mouse.move(self.box["x"] + 2, self.box["y"] + 2)  # what hovers would cover rows

    def follow(self, notebook: Any, condition: str) -> None:
        """Take pictures while something goes on in the kernel, until a condition holds there."""
        while not notebook.evaluate(f"bool({condition})"):
            self.take(120)
        self.page.wait_for_timeout(600)  # the page hears of it a bit later
        self.take(_READ)

    def save(self, path: Path) -> None:
        """Write a GIF in which all pictures have one palette, so that only changes take bytes."""
        palette = self.pictures[-1].quantize(_COLOURS)
        frames = [
            each.quantize(palette=palette, dither=Image.Dither.NONE) for each in self.pictures
        ]
        frames[0].save(
            path,
            save_all=True,
            append_images=frames[1:],
            duration=self.times,
            loop=0,
            optimize=True,
        )


def make_tour(notebook_of: Any, path: Path) -> None:
    """Film the tour into a GIF; ``notebook_of`` opens a notebook with the given cells.

    Raises
    ------
    SystemExit
        When the GIF is too large for a README.
    """
    notebook = notebook_of(_CELLS)
    notebook.run(0, 1)
    page, area = notebook.page, notebook.area(1)
    view = area.locator(".mullama").first
    view.wait_for()
    view.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    film = _Film(page, view.bounding_box())
    film.take(_READ)
    asked = f"len(chat.turns) == {notebook.evaluate('len(chat.turns)')} + 2"
    before = f"chat.head.id == {notebook.evaluate('chat.head.id')!r}"

    field_ = area.get_by_label("Message", exact=True)
    field_.click()
    for word in _QUESTION.split(" "):
        field_.press_sequentially(f"{word} ")
        film.take(160)
    field_.press("Enter")
    film.follow(notebook, asked)

    film.click(area.get_by_role("button", name="Undo", exact=True))
    film.follow(notebook, before)
    sibling = notebook.evaluate("first.checkpoint.id")
    film.click(area.locator(f"[role=treeitem][data-id='{sibling}']"))
    film.follow(notebook, f"chat.head.id == {sibling!r}")
    film.take(_READ)
    film.save(path)
    if path.stat().st_size > _MOST_BYTES:
        raise SystemExit(
            f"{path.name} has {path.stat().st_size:,} bytes, more than a README should"
        )
