"""Soft targets: how far each candidate is meant, beside the signs."""
