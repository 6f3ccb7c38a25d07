"""Which token lies in which cell, as a value, followed live, and as a message."""
