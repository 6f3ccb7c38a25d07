"""Ratios against other ways to do the same thing, measured side by side in one run."""

import mullama_nb  # noqa: F401 - first: it says how OpenMP waits, before llama.cpp loads OpenMP
