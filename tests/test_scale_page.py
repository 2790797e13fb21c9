"""The sums on the page of scale follow from the rates that it starts from."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
N, Q, D, K = 1e9, 1e6, 384, 100


def rate(name, unit):
    found = re.search(rf"^\| {name} \| ([\d,.]+) {unit}", PAGE, re.MULTILINE)
    assert found, name
    return float(found[1].replace(",", ""))


TEXTS, SEARCH = rate("encoding, short texts", "texts/s"), rate("exact search", "GFLOP/s") * 1e9
PRODUCTS, MERGE = rate("encoding, products", "GFLOP/s") * 1e9, rate("merging", "ns") * 1e-9
SECONDS = 2 * Q * N * D / SEARCH
PASSAGE = 2 * (10.65e6 + 4608 * 128) * 128 / PRODUCTS


@pytest.mark.parametrize(
    "value, said",
    [
        (4 * N * D / 1e12, r"4 N D \| ([\d.]+) TB"),
        (11 * Q * (K + 1) / 1e9, r"11 Q \(k \+ 1\) \| ([\d.]+) GB"),
        (N / TEXTS / 86400, r"= ([\d.]+) days on one worker, 2.5 hours"),
        (N / TEXTS / 3600 / 100, r"days on one worker, ([\d.]+) hours on 100. Passages"),
        (1 / PASSAGE, r"so ([\d.]+) texts/s at the rate above"),
        (N * PASSAGE / 86400, r"rate above: ([\d.]+) days"),
        (N * PASSAGE / 3600 * 2, r"10\^9 documents are ([\d,]+) core-hours to encode"),
        (SECONDS / 86400, r"([\d.]+) days on one worker, 7 hours on 100; 1,400 core-hours"),
        (SECONDS / 3600 * 2, r"7 hours on 100; ([\d,]+) core-hours in all"),
        (Q / 2048, r"all vectors once: (\d+) passes"),
        (Q / 2048 * 4 * N * D / 1e12, r"passes, (\d+) TB in all"),
        (SEARCH / 1024 / 1e6, r"kept busy by \*\*(\d+) MB/s"),
        (1000 * N * 2 * D / SEARCH / 60, r"10\^9: (\d+) minutes on one worker"),
    ],
)
def test_a_figure_is_what_its_formula_gives(value, said):
    found = re.search(said, PAGE.replace("\n", " "))
    assert found, said
    assert float(found[1].replace(",", "")) == pytest.approx(value, rel=0.02)


def test_the_table_of_workers_is_what_the_formulas_give():
    units = {"GB": 1e9, "TB": 1e12, "min": 60, "h": 3600}
    lines = re.findall(r"^\| (10|100|1,000) \| (.*) \|$", PAGE, re.MULTILINE)
    assert len(lines) == 3
    for count, cells in lines:
        workers = float(count.replace(",", ""))
        wanted = (4 * Q * D * workers, 8 * Q * K * workers, MERGE * Q * K * workers, SECONDS / workers)
        for cell, value in zip(cells.split(" | "), wanted, strict=True):
            number, unit = cell.split()
            assert float(number) * units[unit] == pytest.approx(value, rel=0.05)
