"""Grammars: their size and ways, and how JSON schemas become them."""
