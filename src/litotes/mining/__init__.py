"""Sources, one scorer and vetters, joined into evidence."""

from litotes.mining.engine import mine, vet
from litotes.mining.presets import like
from litotes.mining.report import Mining, Row, explain

__all__ = ["Mining", "Row", "explain", "like", "mine", "vet"]
