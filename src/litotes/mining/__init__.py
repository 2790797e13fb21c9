"""Sources, one scorer and vetters, joined into evidence."""

from litotes.mining.engine import mine, vet
from litotes.mining.presets import like
from litotes.mining.report import Mining, Row, explain
from litotes.mining.teacher import Rescored, rescore

__all__ = ["Mining", "Rescored", "Row", "explain", "like", "mine", "rescore", "vet"]
