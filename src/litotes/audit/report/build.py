"""Results in, one self-contained page out."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from litotes.atomic import atomic_path
from litotes.audit.report import draw, words
from litotes.audit.results_schema import Results, check_results


def write_report(results: dict[str, Any], path: str | Path) -> Path:
    """Write the report of `results` (the content of `results.json`) to `path`, whole or not at all.

    The page is one file: style, script and drawings are inside, nothing is fetched (its content policy forbids it), it
    reads in light and dark, on paper, on a phone and without scripts. Sections that the results lack are left out.

    Raises:
        BadInput: the results are not of the shape of `results_schema`; the key is named.
    """
    page = render(results)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


def render(results: dict[str, Any]) -> str:
    """The report as text. Every text of the results is escaped: a document that holds markup is shown, not run."""
    from jinja2 import Environment, StrictUndefined

    checked = check_results(results)
    here = files("litotes.audit.report")
    style, script, template = (
        here.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "script.js", "template.html.j2")
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "number": words.number, "signed": words.signed, "interval": words.interval, "share": words.share,
        "count": words.count, "seconds": words.seconds, "excerpt": words.excerpt, "inside": words.inside,
    }  # fmt: skip
    # The policy names the one script by its hash: markup that got in by a mistake of ours would still not run.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.from_string(template).render(style=style, script=script, script_hash=digest, **_view(checked))


def _view(results: Results) -> dict[str, Any]:
    """What the template places: the results and all that has to be computed for a drawing or a sentence."""
    measures = [name for name in results.arms[0].metrics if name != "MAP"] or ["MAP"]
    compared = [name for name in results.arms[0].metrics if any(_change(arm, name) for arm in results.arms)]
    return {
        "results": results,
        "headline": results.headline or words.headline(results),
        "measures": measures,
        "main": measures[0],
        "best": {name: max(_value(arm, name) for arm in results.arms) for name in measures},
        "baseline": words.baseline(results),
        "forests": [draw.forest(results, name) for name in compared],
        "histogram": draw.histogram(results.scores) if results.scores else None,
        "curves": draw.curves(results) if results.curves else None,
        "rejected_by": draw.bars([(p.part, p.doubted) for p in results.vetting.parts]) if results.vetting else [],
        "sections": _sections(results, bool(compared)),
    }


def _sections(results: Results, compared: bool) -> list[tuple[str, str]]:
    there = [
        ("arms", "Arms", True),
        ("changes", "Changes", compared),
        ("scores", "Scores", bool(results.scores)),
        ("vetting", "Vetting", bool(results.vetting)),
        ("examples", "Examples", bool(results.examples)),
        ("training", "Training", bool(results.curves)),
        ("origin", "Recipe and origin", True),
    ]
    return [(name, title) for name, title, shown in there if shown]


def _change(arm: Any, name: str) -> Any:
    return arm.metrics[name].change if name in arm.metrics else None


def _value(arm: Any, name: str) -> float:
    return arm.metrics[name].value if name in arm.metrics else float("-inf")
