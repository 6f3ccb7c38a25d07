"""The colours of figures and widgets."""

from __future__ import annotations

__all__ = ["AMBER", "BLUE", "GREEN", "GREY", "PURPLE", "SERIES", "palette_css"]

# Each has a contrast of at least 3 with white and with JupyterLab's #111111, and they can be told
# apart without seeing red and green; after Okabe and Ito.
BLUE, AMBER, GREEN, PURPLE = "#0a7bc2", "#c97800", "#00906a", "#8468c4"
SERIES = (BLUE, AMBER, GREEN, "#c2649b", "#7f7f7f")
GREY = "#7a7a7a"


def palette_css() -> str:
    """Return a rule with the colours' names for style sheets of widgets."""
    colours = {"blue": BLUE, "amber": AMBER, "green": GREEN, "purple": PURPLE, "grey": GREY}
    return ".mullama{" + "".join(f"--m-{name}:{value};" for name, value in colours.items()) + "}"
