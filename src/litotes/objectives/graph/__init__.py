"""Objectives over graphs."""
