"""Structured: what the structure of a collection says about negatives: taxonomies, names, time."""
