"""matplotlib figures of a conversation's memory and of the model's probabilities.

matplotlib itself is imported when the first figure is drawn.
"""

from .attention import attention
from .cell_map import cell_map
from .choice import choice
from .figures import kv_growth, kv_sizes, token_probabilities
from .steering import steering
from .surprisal import surprisal

__all__ = [
    "attention",
    "cell_map",
    "choice",
    "kv_growth",
    "kv_sizes",
    "steering",
    "surprisal",
    "token_probabilities",
]
