"""The audit as one self-contained page, in the dress of the reports."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import litotes
from litotes.atomic import atomic_path
from litotes.audit.negatives.kinds import KINDS
from litotes.audit.negatives.run import Audit
from litotes.audit.negatives.words import headline, hidden_in_words, measured
from litotes.audit.report import draw, words

DONE = ("exchanged", "taken out", "added", "rows left out")


def write_page(audit: Audit, path: str | Path) -> Path:
    """Write the page of an audit, whole or not at all. It fetches nothing, and texts in it are never run."""
    page = render(audit)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


def render(audit: Audit) -> str:
    """The page as text; every text of the set is escaped."""
    from jinja2 import Environment, StrictUndefined

    report, here = files("litotes.audit.report"), files("litotes.audit.negatives")
    style, script = (report.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    template = here.joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "number": words.number, "share": words.share, "count": words.count, "excerpt": words.excerpt,
    }  # fmt: skip
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.from_string(template).render(style=style, script=script, script_hash=digest, **_view(audit))


def _view(audit: Audit) -> dict[str, Any]:
    rows = []
    for name, kind in KINDS.items():
        if name in audit.found:
            whole = audit.rows if kind.counts == "rows" else audit.negatives
            done = [(what, audit.done[name, what]) for what in DONE if audit.done[name, what]]
            rows.append((kind, audit.found[name], audit.found[name] / whole if whole else 0.0, done))
    return {
        "audit": audit,
        "version": litotes.__version__,
        "headline": headline(audit),
        "hidden": hidden_in_words(audit),
        "rows": rows,
        "kinds": KINDS,
        "histogram": draw.histogram(audit.scores) if audit.scores else None,
        "steps": draw.bars(audit.steps),
        "examples": [(one, KINDS[one.kind], measured(one)) for one in audit.examples],
        "done": [(what, sum(n for (_, did), n in audit.done.items() if did == what)) for what in DONE],
    }
