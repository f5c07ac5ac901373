"""Saliency guided training for Hugging Face: classifiers whose gradient explanations are faithful."""

from .adapters import ImageAdapter, SeriesAdapter, TextAdapter
from .data.eraser import load_eraser
from .explain import explain
from .faithfulness import evaluate_faithfulness
from .faithfulness.report import FaithfulnessReport
from .loss import saliency_guided_loss
from .models import BiLstmConfig, BiLstmForSequenceClassification
from .trainer import SaliencyGuidedTrainer
from .training_args import PRESETS, SaliencyGuidedArguments, SaliencyGuidedTrainingArguments

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "BiLstmConfig",
    "BiLstmForSequenceClassification",
    "FaithfulnessReport",
    "ImageAdapter",
    "SaliencyGuidedArguments",
    "SaliencyGuidedTrainer",
    "SaliencyGuidedTrainingArguments",
    "SeriesAdapter",
    "TextAdapter",
    "__version__",
    "evaluate_faithfulness",
    "explain",
    "load_eraser",
    "saliency_guided_loss",
]
