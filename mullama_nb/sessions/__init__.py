"""Named sessions and chats, stored on disk."""
