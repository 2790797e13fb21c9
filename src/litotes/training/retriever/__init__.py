"""Ways to train a retriever: plainly on evidence, and by published recipes of several phases."""

from litotes.training.retriever.train import train_retriever

__all__ = ["train_retriever"]
