"""States in a tree, and the chat on it."""
