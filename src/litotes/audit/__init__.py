"""Audit: what a model or a body of evidence is worth. An audit reads, and changes nothing."""
