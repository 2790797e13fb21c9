"""Objectives over whole ranked lists."""
