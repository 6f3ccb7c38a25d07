"""Suites: cases x models x settings, judged by checks, with results that are kept and compared."""
