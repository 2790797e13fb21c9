"""The report of an experiment: one HTML file that needs nothing but a browser."""

from litotes.audit.report.build import render, write_report

__all__ = ["render", "write_report"]
