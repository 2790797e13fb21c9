import subprocess
import sys

import pytest

HEAVY = ("torch", "pyarrow", "numpy", "scipy", "transformers", "sentence_transformers", "datasets", "tqdm", "pydantic")


def fresh(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def loaded(statement, names):
    return fresh(f"import sys\n{statement}\nprint(*[name for name in {names!r} if name in sys.modules])").split()


def test_importing_litotes_is_light():
    assert loaded("import litotes", HEAVY) == []
    assert (
        loaded("import litotes; dir(litotes); litotes.__version__; import litotes.catalog, litotes.spelling", HEAVY)
        == []
    )
    code = "import time\nt = time.perf_counter()\nimport litotes\nprint(time.perf_counter() - t)"
    assert min(float(fresh(code)) for _ in range(3)) < 0.3  # the best of three: other work shares the machine


@pytest.mark.parametrize(
    "room", ["litotes.evidence", "litotes.data.collection", "litotes.data.anchors", "litotes.errors"]
)
def test_rooms_of_tables_do_not_import_torch(room):
    assert loaded(f"import {room}", ("torch", "transformers", "sentence_transformers", "datasets")) == []


def test_what_the_shelf_names_is_found_on_first_use_and_nothing_else():
    assert fresh("import litotes; print(litotes.Evidence.__name__)") == "Evidence"
    import litotes

    assert set(litotes.__all__) == set(dir(litotes))
    with pytest.raises(AttributeError, match="module 'litotes' has no attribute 'surprise'"):
        _ = litotes.surprise
