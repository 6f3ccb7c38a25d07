"""A model's files: found by name, and checked before native code sees them."""
