"""Ratios against other ways to do the same thing, measured side by side in one run."""
