"""What takes the place of a dropped feature: one file a modality, one function a strategy."""
