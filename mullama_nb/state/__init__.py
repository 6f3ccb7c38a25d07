"""State as bytes, at rest and in flight; nothing here knows a function of llama.cpp."""
