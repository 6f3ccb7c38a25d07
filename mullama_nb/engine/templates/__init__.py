"""Chat templates: from messages of any shape to a prompt."""
