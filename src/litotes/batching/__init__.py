"""What meets what in a batch, and when."""

from litotes.batching.base import Batcher
from litotes.batching.neighbours import NeighbourBatches
from litotes.batching.ngame import Ngame
from litotes.batching.tas import TasBalanced

__all__ = ["Batcher", "NeighbourBatches", "Ngame", "TasBalanced"]
