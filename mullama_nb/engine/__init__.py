"""Models, contexts and sampling; the only room that knows llama.cpp."""
