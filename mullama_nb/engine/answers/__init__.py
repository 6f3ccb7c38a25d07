"""Answers: made token by token, and read as thought, text and calls."""
