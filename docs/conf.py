"""How ``make docs`` builds the site. Links are as on a forge: sources lie where the files lie."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

project = "mullama_nb"
project_copyright = "the mullama_nb authors"
html_title = "mullama_nb"

extensions = [
    "extensions.mathml",
    "extensions.public_names",
    "extensions.signatures",
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
]

root_doc = "docs/index"
include_patterns = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/results.md",
    "docs/**",
    "notebooks/*.ipynb",
]
exclude_patterns = [
    *(".*", "build", "mullama_nb", "tests", "tools"),  # not even walked through
    *("docs/extensions", "docs/site", "docs/templates"),
]
templates_path = [str(ROOT / "docs" / "templates")]  # autosummary would look below the sources
suppress_warnings = ["config.cache"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_merge_streams = True

autosummary_generate = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
python_display_short_literal_types = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_validation_checks = {
    "GL01",  # a text that begins on the wrong line
    "GL03",  # blank lines too many
    "GL05",  # tabs
    "GL06",  # sections that numpydoc does not know
    "GL07",  # sections in another order
    "PR02",  # parameters that there are not
    "PR10",  # "x: int" for "x : int"
}
# Options that a decorator lists one by one in the signature.
numpydoc_validation_overrides = {"PR02": [r"\*\*(changes|options)"]}

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "default",
    "pygments_dark_style": "github-dark",
}
html_sourcelink_suffix = ""
html_show_sourcelink = False
html_extra_path = ["site"]
