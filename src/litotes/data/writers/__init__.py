"""Writers: a Collection into the forms that people have. Each says how much the target could not hold."""

from litotes.data.writers.beir import write_beir
from litotes.data.writers.hf import write_hf, write_hf_pairs
from litotes.data.writers.pairs import write_pairs
from litotes.data.writers.parquet import write_parquet

__all__ = ["write_beir", "write_hf", "write_hf_pairs", "write_pairs", "write_parquet"]
