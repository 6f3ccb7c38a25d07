"""matplotlib figures of what memory a conversation takes, and of what the model believed.

matplotlib itself is imported when the first figure is drawn.
"""

from .figures import kv_growth, kv_sizes, token_probabilities

__all__ = ["kv_growth", "kv_sizes", "token_probabilities"]
