"""Metrics of rankings and classifiers: pure functions of scores and truth. Ties are pessimistic."""
