"""Sampling: its parameters, llama.cpp's samplers, the draw, and how each step chose."""
