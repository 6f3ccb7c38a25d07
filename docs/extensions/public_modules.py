"""The modules that users import, for the site's references and for the tests."""

__all__ = ["PUBLIC"]

PUBLIC = (
    "mullama_nb",
    "mullama_nb.errors",
    "mullama_nb.plots",
    "mullama_nb.steering",
    "mullama_nb.testing",
    "mullama_nb.widgets",
)
