"""Adapters: litotes where people already work. One file per library."""
