"""Ways to train a ranker, a model that reads the query and the document together."""

from litotes.training.ranker.train import train_ranker

__all__ = ["train_ranker"]
