"""The command line: ``mullama-nb``."""

from .main import main

__all__ = ["main"]
