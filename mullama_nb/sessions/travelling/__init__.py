"""Stores that travel: sessions and chats pushed to a store elsewhere, and pulled from one."""
