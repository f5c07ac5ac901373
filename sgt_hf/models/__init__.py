"""The package's own models, registered with the Auto classes of transformers here and nowhere else."""

from transformers import AutoConfig, AutoModelForSequenceClassification

from .bilstm import BiLstmConfig, BiLstmForSequenceClassification

__all__ = ["BiLstmConfig", "BiLstmForSequenceClassification"]

# `exist_ok` because a reloaded module would otherwise refuse its own earlier registration.
AutoConfig.register(BiLstmConfig.model_type, BiLstmConfig, exist_ok=True)
AutoModelForSequenceClassification.register(BiLstmConfig, BiLstmForSequenceClassification, exist_ok=True)
