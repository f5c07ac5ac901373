"""Scripts that measure; run them from the repository's root."""
