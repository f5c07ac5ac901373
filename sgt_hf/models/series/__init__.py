"""The four time-series networks of Ismail et al. 2021 (section 5.3, supplement) as Hugging Face models."""

from .base import SeriesClassifier, SeriesConfig
from .lstm import InputCellLstmConfig, InputCellLstmForSeries, SeriesLstmConfig, SeriesLstmForSeries
from .tcn import TcnConfig, TcnForSeries
from .transformer import SeriesTransformerConfig, SeriesTransformerForSeries

SERIES_MODELS: dict[type[SeriesConfig], type[SeriesClassifier]] = {
    SeriesLstmConfig: SeriesLstmForSeries,
    InputCellLstmConfig: InputCellLstmForSeries,
    TcnConfig: TcnForSeries,
    SeriesTransformerConfig: SeriesTransformerForSeries,
}

__all__ = [
    "SERIES_MODELS",
    "InputCellLstmConfig",
    "InputCellLstmForSeries",
    "SeriesClassifier",
    "SeriesConfig",
    "SeriesLstmConfig",
    "SeriesLstmForSeries",
    "SeriesTransformerConfig",
    "SeriesTransformerForSeries",
    "TcnConfig",
    "TcnForSeries",
]
