"""The tree of checkpoints, and the chat on it."""
