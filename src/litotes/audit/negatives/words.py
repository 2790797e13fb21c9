"""What an audit says in sentences; it claims no more than was measured."""

from __future__ import annotations

from litotes.audit.negatives.examples import Example
from litotes.audit.negatives.kinds import COPIES, KINDS
from litotes.audit.negatives.run import Audit
from litotes.audit.report.words import count, number, share


def headline(audit: Audit) -> str:
    """The sentence at the top."""
    if not audit.negatives:
        return f"{audit.path.name} has no negatives."
    wrong = sum(audit.found.get(name, 0) for name in COPIES)
    parts = [f"{count(wrong)} of {count(audit.negatives)} negatives are copies of what they must not be"]
    if audit.hidden is not None:
        ends = f"interval {share(audit.hidden.low)} to {share(audit.hidden.high)}"
        parts.append(f"of the others at most about {share(audit.hidden.value)} may be false ({ends})")
    if audit.filler is not None:
        parts.append(f"at most about {share(audit.filler.value)} of all are random filler")
    return "; ".join(parts) + "."


def hidden_in_words(audit: Audit) -> list[str]:
    """How the estimate of false negatives was formed, and what it does not say."""
    said = []
    if audit.negatives:
        certain = f"{count(audit.certain)} of {count(audit.negatives)} ({share(audit.certain / audit.negatives)})"
        said.append(f"Certain: {certain} negatives are given as positives of their own query by the set itself.")
    if audit.hidden is None:
        return said
    said += [
        f"Estimate: at most about {share(audit.hidden.value)} of the negatives that are no copies may be unlabelled "
        f"answers; 95 % interval {share(audit.hidden.low)} to {share(audit.hidden.high)}, over queries.",
        f"It rests on the {audit.hidden.rests_on}. If a share of the negatives were answers, and answers without a "
        "label scored like the labelled ones, then above every line at least that share of the positives' share would "
        "lie there too. The estimate is the largest share that is consistent with this. Nobody has read the texts.",
        "It is too high where true negatives score as high as the best positives (hard negatives, or a weak model), "
        "and too low where unlabelled answers score lower than labelled ones. A stronger judge makes it tighter.",
    ]
    if audit.judge is not None:
        said.append(
            f"Suspects are another thing: {count(audit.found.get('suspect', 0))} negatives that {audit.judge[1]} "
            "doubts and that score as high as a typical positive. Many of them may be merely hard."
        )
    return said


def measured(example: Example) -> str:
    """What was measured for one example, in words; "" where nothing was."""
    seen, line = example.seen, example.line
    if seen is None:
        return ""
    if example.kind in ("near-query", "near-positive", "test-query"):
        return f"shares {share(seen)} of its runs of letters"
    if example.kind == "suspect":
        return f"score {number(seen)}" + (f", line {number(line)}" if line is not None else "")
    if example.kind == "filler":
        return f"{share(seen)} of random texts are as alike to the query"
    if example.kind == "everywhere":
        return f"serves {share(seen)} of all queries"
    if example.kind == "short":
        return f"{number(seen, 0)} different negatives" + (f", wanted {number(line, 0)}" if line is not None else "")
    return ""


def remedy(name: str) -> str:
    """What a repair does about a kind, in a word or two."""
    if name == "suspect":
        return "goes if asked for"
    return {
        "out": "goes",
        "exchange": "exchanged",
        "fill": "filled up",
        "row out": "row goes",
        "report": "stays",
    }[KINDS[name].remedy]
