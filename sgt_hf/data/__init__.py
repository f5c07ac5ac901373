"""Data sets and words: ERASER, the planted corpus, vocabularies, vectors, encoding, time series."""
