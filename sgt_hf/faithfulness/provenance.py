"""How a measurement of faithfulness was made, in one line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """Everything that decides the numbers, beside model and data.

    Attributes:
        convention: Aggregate of the bins.
        operator: What took the place of removed words.
        bins: Shares of the words.
        reduction: From an attribution to a token's score.
        unit: `word` or `token`.
        random_draws: Random rankings per text.
        seed: Of noise and random rankings.
        baseline: Of integrated gradients, DeepLIFT and the SHAPs.
        steps: Of integrated gradients.
        smooth_grad_samples: Noisy copies.
        smooth_grad_noise: Standard deviation, as a share of the sample's range.
        shap_samples: Points of GradientSHAP.
        shap_baselines: Of each sample, in both SHAPs.
        shap_noise: Of the SHAPs, as a share of the sample's range.
        trained_masking: The masking of saliency guided training, or None.
        truncated_words: Words that the encoding cut off all texts together, or None where the data set does not say.
        normalize: How the limits of AOPC were found: `beam`, `greedy`, `exact`, or None.
        beam_width: Of the beam, or None.
        autocast: The dtype of a `torch.autocast` around the call, such as `bfloat16`, or None.
    """

    convention: str
    operator: str
    bins: tuple[float, ...]
    reduction: str
    unit: str
    random_draws: int
    seed: int
    baseline: str
    steps: int
    smooth_grad_samples: int
    smooth_grad_noise: float
    shap_samples: int
    shap_baselines: int
    shap_noise: float
    trained_masking: str | None = None
    truncated_words: int | None = None
    normalize: str | None = None
    beam_width: int | None = None
    autocast: str | None = None

    def of_methods(self, methods: Iterable[str]) -> str:
        """Return the seed, and what decides the scores of these methods.

        Args:
            methods: Names of `sgt_hf.attribution.ATTRIBUTIONS`.
        """
        names, told = set(methods), [f"seed {self.seed}"]
        if "integrated_gradients" in names:
            told.append(f"integrated gradients in {self.steps} steps from the baseline {self.baseline}")
        if "deep_lift" in names:
            told.append(f"DeepLIFT from the baseline {self.baseline}")
        if "smooth_grad" in names:
            told.append(f"SmoothGrad of {self.smooth_grad_samples} copies with noise {self.smooth_grad_noise:g}")
        around = f"{self.shap_baselines} baselines around {self.baseline} with noise {self.shap_noise:g}"
        if "gradient_shap" in names:
            told.append(f"GradientSHAP at {self.shap_samples} points from {around}")
        if "deep_shap" in names:
            told.append(f"DeepSHAP from {around}")
        return ", ".join(told)

    def __str__(self) -> str:
        """One line."""
        bins = ", ".join(f"{100 * share:g}" for share in self.bins)
        line = (
            f"AOPC convention {self.convention}, operator {self.operator}, bins ⌈q·n⌉ {self.unit}s at {bins} %, class "
            f"predicted on the full input, reduction {self.reduction}, random over {self.random_draws} draws"
        )
        if self.normalize is not None:
            width = "" if self.beam_width is None else f" of width {self.beam_width}"
            line += f", limits of NAOPC by {self.normalize} search{width}"
        if self.autocast is not None:
            line += f", under autocast to {self.autocast}"
        if self.truncated_words:
            line += f"; {self.truncated_words} words past the maximal length were cut off"
        if self.trained_masking == self.operator:
            line += f"; the model was trained with the same operator ({self.operator}), which flatters sufficiency"
        return line
