"""Conversations from files of other programs."""
