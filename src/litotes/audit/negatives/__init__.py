"""Audit of the negatives of a set that somebody has: what is wrong with them, and the set repaired."""

from litotes.audit.negatives.kinds import KINDS, Kind
from litotes.audit.negatives.page import render, write_page
from litotes.audit.negatives.run import Audit, Settings, audit_negatives

__all__ = ["KINDS", "Audit", "Kind", "Settings", "audit_negatives", "render", "write_page"]
