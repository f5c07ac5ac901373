"""What is made of results: cards, pages, plots."""

from .card_facts import CardFacts
from .evaluations import DatasetFacts, Evaluation
from .model_card import model_card, write_model_card
from .push_errors import PushError
from .recipe import Recipe, load_recipe

__all__ = [
    "CardFacts",
    "DatasetFacts",
    "Evaluation",
    "PushError",
    "Recipe",
    "load_recipe",
    "model_card",
    "write_model_card",
]
