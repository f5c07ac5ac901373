"""The package's own models, registered with the Auto classes of transformers here and nowhere else."""

from transformers import AutoConfig, AutoModelForImageClassification, AutoModelForSequenceClassification

from .bilstm import BiLstmConfig, BiLstmForSequenceClassification
from .series import SERIES_MODELS
from .vision import VISION_MODELS

__all__ = ["BiLstmConfig", "BiLstmForSequenceClassification"]

# `exist_ok` because a reloaded module would otherwise refuse its own earlier registration.
AutoConfig.register(BiLstmConfig.model_type, BiLstmConfig, exist_ok=True)
AutoModelForSequenceClassification.register(BiLstmConfig, BiLstmForSequenceClassification, exist_ok=True)
for _series_config, _series_model in SERIES_MODELS.items():
    AutoConfig.register(_series_config.model_type, _series_config, exist_ok=True)
    AutoModelForSequenceClassification.register(_series_config, _series_model, exist_ok=True)
for _config, _model in VISION_MODELS.items():
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModelForImageClassification.register(_config, _model, exist_ok=True)
