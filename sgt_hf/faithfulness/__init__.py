"""How faithful a model's explanations are: attributions, removal curves, metrics, and what may be said of them."""

from .comparison import Comparison, compare, compare_over_operators
from .evaluate import evaluate_faithfulness
from .report import Curves, Faithfulness, FaithfulnessReport
from .word_scores import METHODS, word_scores

__all__ = [
    "METHODS",
    "Comparison",
    "Curves",
    "Faithfulness",
    "FaithfulnessReport",
    "compare",
    "compare_over_operators",
    "evaluate_faithfulness",
    "word_scores",
]
