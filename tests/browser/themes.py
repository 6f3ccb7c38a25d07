"""Both themes of JupyterLab, and whether what a widget says can be read in them."""

from __future__ import annotations

from playwright.sync_api import Locator, Page

__all__ = ["THEMES", "check_reading", "least_contrast", "least_stroke", "use_theme"]

THEMES = ("JupyterLab Light", "JupyterLab Dark")

# As of WCAG 2.1; what lies behind an element are the backgrounds of its ancestors, mixed.
_MEASURE = """
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const rgb = (...colors) => {
  canvas.clearRect(0, 0, 1, 1);
  for (const color of colors) {
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
  }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const light = (color) => {
  const [r, g, b] = color.map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (node, color) => {
  const behind = [];
  for (let at = node; at; at = at.parentElement) {
    behind.unshift(getComputedStyle(at).backgroundColor);
  }
  const both = [rgb(...behind, color), rgb(...behind)];
  const [a, b] = both.map(light).sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
};
"""
_TEXTS = """
const found = [];
for (const node of [area, ...area.querySelectorAll('*')]) {
  const says = [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!says || !node.checkVisibility() || node.matches(':disabled, [inert] *')) continue;
  found.push([contrast(node, getComputedStyle(node).color), node.textContent.slice(0, 40)]);
}
return found.sort((x, y) => x[0] - y[0])[0];
"""
_STROKES = "return Math.min(...nodes.map((n) => contrast(n, getComputedStyle(n).stroke)));"


def use_theme(page: Page, theme: str) -> None:
    """Have JupyterLab show a theme."""
    page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme
    )
    is_light = "true" if theme == THEMES[0] else "false"
    page.locator(f"body[data-jp-theme-light={is_light}]").wait_for(state="attached")


def least_contrast(area: Locator) -> tuple[float, str]:
    """The least contrast of a text with what is behind it, and that text."""
    contrast, text = area.evaluate(f"area => {{ {_MEASURE} {_TEXTS} }}")
    return float(contrast), str(text)


def least_stroke(area: Locator, selector: str) -> float:
    """The least contrast of drawn lines with what is behind them; there has to be one."""
    lines = area.locator(selector)
    assert lines.count()
    return float(lines.evaluate_all(f"nodes => {{ {_MEASURE} {_STROKES} }}"))


def check_reading(page: Page, area: Locator) -> None:
    """Check that a widget can be read in both themes, and fits into a narrow cell."""
    for theme in THEMES:
        use_theme(page, theme)
        contrast, text = least_contrast(area)
        assert contrast >= 4.5, (theme, text)
    for width in (1280, 520):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(
            "area => area.scrollWidth <= area.clientWidth", arg=area.element_handle()
        )
