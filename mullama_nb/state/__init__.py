"""State as bytes, in memory and in files; nothing here calls llama.cpp."""
