"""Models, contexts and sampling; the only folder that uses llama.cpp."""
