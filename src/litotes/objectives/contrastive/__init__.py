"""Objectives that set positives against a field of negatives."""
