import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.training.retriever.latent_attention import LatentAttention
from litotes.training.retriever.latent_pool import LatentAttentionPool, counted_tokens


def pool(seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LatentAttentionPool(**({"dim": 8, "latents": 5, "heads": 2} | options)).double().eval()


def drawn(seed, b=3, t=6, dim=8):
    """States, and masks with a token in every row."""
    numbers = torch.Generator().manual_seed(seed)
    hidden = torch.randn(b, t, dim, generator=numbers, dtype=torch.float64)
    mask = torch.rand(b, t, generator=numbers) < 0.6
    mask[torch.arange(b), torch.randint(0, t, (b,), generator=numbers)] = True
    return hidden, mask


def slowly(module, hidden, mask):
    """The formula of the docstring, one text, one token and one head at a time."""
    out = []
    for states, counts in zip(hidden, mask, strict=True):
        total = 0
        for x in states[counts]:
            q = module.to_q(module.norm_tokens(x)).chunk(module.heads)
            k, v = (each.chunk(module.heads, dim=-1) for each in keys_and_values(module))
            read = []
            for head in range(module.heads):
                size = len(q[head])
                share = torch.stack([q[head] @ key / math.sqrt(size) for key in k[head]]).exp()
                read.append((share / share.sum()) @ v[head])
            y = x + module.to_out.weight @ torch.cat(read)
            value, gate = (module.widen.weight @ module.norm_mixed(y) + module.widen.bias).chunk(2)
            gelu = gate * (1 + torch.erf(gate / math.sqrt(2))) / 2
            total = total + y + module.narrow.weight @ (value * gelu) + module.narrow.bias
        mean = total / counts.sum()
        out.append(mean / mean.norm() if module.normalize else mean)
    return torch.stack(out)


def keys_and_values(module):
    both = module.norm_latents(module.dictionary) @ module.to_kv.weight.T
    return both.chunk(2, dim=-1)


@given(
    st.integers(0, 99),
    st.sampled_from([(8, 1, None), (8, 4, None), (6, 4, 3), (8, 2, 16)]),
    st.integers(1, 5),
    st.integers(1, 4),
    st.booleans(),
)
def test_it_is_its_formula(seed, shape, latents, ff_mult, normalize):
    dim, heads, head_dim = shape
    module = pool(seed, dim=dim, heads=heads, head_dim=head_dim, latents=latents, ff_mult=ff_mult, normalize=normalize)
    hidden, mask = drawn(seed, dim=dim)
    torch.testing.assert_close(module(hidden, mask), slowly(module, hidden, mask), atol=1e-10, rtol=1e-8)


@given(st.integers(0, 99))
def test_from_a_start_at_zero_it_is_the_masked_mean(seed):
    module = pool(seed, zero_init=True).float()
    hidden, mask = drawn(seed)
    means = torch.stack([x[m].mean(dim=0) for x, m in zip(hidden, mask, strict=True)])
    expected = means / means.norm(dim=1, keepdim=True)
    torch.testing.assert_close(module(hidden.float(), mask), expected.float(), atol=1e-6, rtol=0)
    plain = pool(seed, zero_init=True, normalize=False)
    torch.testing.assert_close(plain(hidden, mask), means, atol=1e-12, rtol=0)


@given(st.integers(0, 99), st.sampled_from([1e4, -1e30, math.inf, math.nan]))
def test_what_does_not_count_may_be_anything(seed, value):
    module = pool(seed)
    hidden, mask = drawn(seed)
    other = hidden.clone().masked_fill(~mask[:, :, None], value).requires_grad_()
    found = module(other, mask)
    assert torch.equal(found, module(hidden, mask))
    found.sum().backward()
    assert (other.grad[~mask] == 0).all() and all(p.grad.isfinite().all() for p in module.parameters())


@given(st.integers(0, 99), st.integers(0, 3))
def test_vectors_have_length_one_and_neither_order_nor_padding_matters(seed, more):
    module = pool(seed)
    hidden, mask = drawn(seed)
    found = module(hidden, mask)
    assert found.shape == (3, 8)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3, dtype=torch.float64))
    turn = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(module(hidden[:, turn], mask[:, turn]), found, atol=1e-12, rtol=0)
    wider = torch.cat([torch.ones(3, more, 8, dtype=torch.float64), hidden], dim=1)
    padded = torch.cat([torch.zeros(3, more, dtype=torch.bool), mask], dim=1)
    torch.testing.assert_close(module(wider, padded), found, atol=1e-12, rtol=0)


def test_one_latent_adds_the_same_to_every_token():
    module = pool(latents=1)
    hidden, _ = drawn(1)
    _, v = keys_and_values(module)
    expected = module.to_out.weight @ v[0]
    torch.testing.assert_close(module.attended(hidden), expected.expand(3, 6, 8), atol=1e-12, rtol=0)


def test_the_vectors_have_the_dtype_of_the_states_and_the_mean_is_formed_in_a_wider_one():
    module = LatentAttentionPool(4, 2, 2, normalize=False, zero_init=True).bfloat16()
    hidden = torch.randn(64, 37, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(module(hidden, torch.ones(64, 37)), hidden.double().mean(dim=1).bfloat16())


def test_a_row_without_a_token_is_named():
    mask = torch.ones(3, 6)
    mask[1] = 0
    with pytest.raises(ValueError, match="mask must leave a token in every row, row 1 has none"):
        pool()(drawn(0)[0], mask)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim must be a whole number >= 1, got 0"),
        ({"latents": 0}, "latents must be a whole number >= 1, got 0"),
        ({"heads": 3}, "heads must divide dim 8 unless head_dim is given, got 3"),
        ({"heads": 3, "head_dim": 0}, "head_dim must be a whole number >= 1 or None, got 0"),
        ({"ff_mult": 1.5}, "ff_mult must be a whole number >= 1, got 1.5"),
    ],
)
def test_the_gate(options, message):
    with pytest.raises(ValueError, match=message):
        pool(**options)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"hidden must be \[B, T, 8\], got \[2, 3, 7\]"):
        pool()(torch.zeros(2, 3, 7), torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"mask must be \[B, T\] = \[2, 3\], got \[2, 4\]"):
        pool()(torch.zeros(2, 3, 8), torch.ones(2, 4))


def test_tokens_of_a_prompt_do_not_count_on_whichever_side_the_padding_is():
    right, left = [1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]
    found = counted_tokens(torch.tensor([right, left]), 3)
    assert found.int().tolist() == [[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]]
    found = counted_tokens(torch.tensor([right, left]), torch.tensor([0, 2]))
    assert found.int().tolist() == [right, [0, 0, 0, 0, 1, 1]]


@given(st.integers(0, 99), st.integers(0, 4), st.integers(0, 4), st.booleans())
def test_an_instruction_of_any_length_changes_nothing_where_tokens_do_not_see_each_other(seed, one, other, left):
    """The encoder is a table of token vectors, so that only the mask of the pool can carry the instruction over."""
    numbers = torch.Generator().manual_seed(seed)
    table = torch.randn(20, 8, generator=numbers, dtype=torch.float64)
    text, module = torch.randint(0, 20, (5,), generator=numbers), LatentAttention(8, 5, 2).double().eval()
    vectors = []
    for length in (one, other):
        prompt = torch.randint(0, 20, (length,), generator=numbers)
        ids, mask = torch.cat([prompt, text]), torch.ones(length + 5, dtype=torch.long)
        padding = torch.zeros(3, dtype=torch.long)
        ids, mask = (torch.cat([padding, x] if left else [x, padding])[None] for x in (ids, mask))
        features = {"token_embeddings": table[ids], "attention_mask": mask, "prompt_length": length}
        vectors.append(module(features)["sentence_embedding"])
    torch.testing.assert_close(vectors[0], vectors[1], atol=1e-12, rtol=0)
    every = LatentAttention(8, 5, 2, skip_prompt=False).double().eval()
    every.load_state_dict(module.state_dict())
    if one:
        features = {"token_embeddings": table[ids], "attention_mask": mask, "prompt_length": length}
        assert length == 0 or not torch.equal(every(features)["sentence_embedding"], vectors[1])


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, tiny_model):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize

    torch.manual_seed(3)
    model = SentenceTransformer(tiny_model, device="cpu")
    modules = [model[0], LatentAttention(32, 4, 2, head_dim=5, ff_mult=1, normalize=False), Normalize()]
    whole = SentenceTransformer(modules=modules, device="cpu", prompts={"query": "red cat ", "document": ""})
    folder = tmp_path_factory.mktemp("latent") / "model"
    whole.save_pretrained(str(folder))
    return whole, str(folder)


def test_a_model_with_it_saves_and_loads(model_folder):
    from sentence_transformers import SentenceTransformer

    from litotes.data.fingerprint import model_checksum

    whole, folder = model_folder
    loaded = SentenceTransformer(folder, device="cpu", trust_remote_code=True)  # its only code is that of litotes
    assert isinstance(loaded[1], LatentAttention) and loaded[1].get_config_dict() == whole[1].get_config_dict()
    texts = ["small dog runs", "bird"]
    assert (loaded.encode(texts, prompt_name="query") == whole.encode(texts, prompt_name="query")).all()
    assert loaded.get_embedding_dimension() == 32
    assert model_checksum(loaded) == model_checksum(whole)
    with torch.no_grad():
        loaded[1].pool.dictionary += 1
    assert model_checksum(loaded) != model_checksum(whole)


def test_the_house_encoder_reads_it_and_padding_and_prompts_are_left_out(model_folder):
    from litotes.data.encoder import Encoder

    whole, folder = model_folder
    texts = ["small dog runs", "bird", "red cat eats the old fish"]
    found = torch.as_tensor(Encoder(folder, dtype="float32").encode(texts, kind="query"))
    alone = torch.cat([torch.as_tensor(whole.encode([text], prompt_name="query")) for text in texts])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)
    with torch.no_grad():
        features = whole[0](whole.preprocess(["red cat bird"]))
        counts = torch.tensor([[0, 0, 0, 1, 1]])  # [CLS] red cat bird [SEP]
        assert features["attention_mask"].shape == counts.shape
        by_hand = torch.nn.functional.normalize(whole[1].pool(features["token_embeddings"], counts))
    torch.testing.assert_close(found[1:2], by_hand, atol=1e-5, rtol=0)


def test_it_is_trained_with_the_rest_of_the_model(model_folder, world, tmp_path):
    from litotes.data.models import load_model
    from litotes.training.retriever import train_retriever

    whole, folder = model_folder
    done = train_retriever(
        folder, world[1], world[0], objective="infonce()", out=tmp_path / "made", max_steps=2, batch_size=8, n=1,
        learning_rate=1e-2, precision="fp32", warmup=0.0,
    )  # fmt: skip
    after = load_model(done.path, "cpu")[1].state_dict()
    moved = [name for name, value in whole[1].state_dict().items() if not torch.equal(value, after[name])]
    assert set(moved) == set(after)


def test_a_folder_that_brings_code_of_its_own_is_not_trusted(model_folder, tmp_path):
    import shutil

    from litotes.data.models import load_model

    for name, change in {
        "a file": lambda folder: (folder / "modeling.py").write_text("raise SystemExit"),
        "a reference": lambda folder: (folder / "1_LatentAttention" / "other.json").write_text('{"auto_map": {}}'),
        "an owner": lambda folder: (folder / "modules.json").write_text(
            (folder / "modules.json").read_text().replace('"sentence_transformers.', '"strangers.')
        ),
    }.items():
        folder = shutil.copytree(model_folder[1], tmp_path / name)
        assert load_model(folder, "cpu") is not None
        change(folder)
        with pytest.raises(OSError, match="trust_remote_code"):
            load_model(folder, "cpu")
