"""Threads: who waits for whom, how OpenMP waits, and what an interrupt may stop."""
