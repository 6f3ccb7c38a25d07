"""Checks: what a suite demands of answers, and of the probabilities behind its questions."""
