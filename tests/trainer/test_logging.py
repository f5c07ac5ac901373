"""The guided terms where people look: in TensorBoard's event file."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.trainer.runs import TERMS, losses, trained


def test_tensorboard_shows_the_guided_terms_as_scalars(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    trainer = trained(tmp_path, report_to="tensorboard", logging_steps=1)
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    for name in TERMS:
        scalars = events.Scalars(f"train/{name}")
        assert [scalar.step for scalar in scalars] == list(range(1, 9))
        assert [scalar.value for scalar in scalars] == pytest.approx(losses(trainer, name), rel=1e-6)
