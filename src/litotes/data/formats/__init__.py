"""Formats: collections and evidence to and from the files of other tools."""

from litotes.data.formats.conversion import convert, format_named
from litotes.data.formats.detection import detect
from litotes.data.formats.interchange import ASPECTS, Exchange, Format, Written
from litotes.data.formats.registry import FORMATS

__all__ = ["ASPECTS", "FORMATS", "Exchange", "Format", "Written", "convert", "detect", "format_named"]
