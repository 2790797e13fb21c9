import copy
import math
import warnings

import pytest
import torch
from torch import nn

from litotes.batch import Moment
from litotes.chain import Chain
from litotes.integrations.sentence_transformers import Loss, cut_padded
from litotes.objectives import (
    Cached,
    Hinge,
    InfoNCE,
    LearnedTemperature,
    MarginMSE,
    Only,
    ScheduledTemperature,
    SoftTargetInfoNCE,
    Symmetric,
)
from litotes.scoring import Cosine, Dot, NegL2
from litotes.sources.same_side import SameSide
from litotes.training.chains import gist_loss

pytestmark = pytest.mark.filterwarnings("ignore:plain columns say nothing of belief")

WORDS = ["red", "green", "blue", "sky", "grass", "sea", "night", "day", "sun", "moon", "star", "stone"]


def tiny_model(folder, words=WORDS, dropout=0.0, seed=0, width=32, length=32):
    """A BERT of two layers with a vocabulary of its own."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    pieces = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.Whitespace()
    pieces.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=pieces, **names).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    BertModel(config).save_pretrained(folder)
    transformer = Transformer(str(folder))
    transformer.max_seq_length = length
    return SentenceTransformer(modules=[transformer, Pooling(width, "mean")], device="cpu")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A model, a guide with the same vocabulary and one with another; tests copy what they train."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "model": tiny_model(folder / "model"),
        "guide": tiny_model(folder / "guide", seed=5, width=16),
        "foreign": tiny_model(folder / "foreign", words=WORDS[::-1], seed=5, width=16),
    }


# ---- parity with the losses of sentence-transformers, over drawn vectors ---------------------------------------------


class Table(nn.Module):
    """An encoder whose texts are rows of a table, in any precision."""

    def __init__(self, n, width, dtype, seed, tokenizer):
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(n, width, generator=random, dtype=torch.float64).to(dtype))
        self.tokenizer, self.max_seq_length = tokenizer, 8

    def forward(self, features):
        return {"sentence_embedding": self.weight[features["input_ids"][:, 0]]}

    def __getitem__(self, index):
        return self


def columns(b, h):
    """Feature columns (anchor, positive, negative ..) that name the rows of the table in order."""
    return [{"input_ids": torch.arange(k * b, (k + 1) * b)[:, None]} for k in range(2 + h)]


def peers():
    from sentence_transformers.sentence_transformer import losses

    cosine = losses.TripletDistanceMetric.COSINE
    mnrl, both = losses.MultipleNegativesRankingLoss, losses.MultipleNegativesSymmetricRankingLoss
    joint = lambda *more: {"directions": ("query_to_doc", *more), "partition_mode": "joint"}
    return {
        "mnrl": (lambda: InfoNCE(0.05), lambda m, g: mnrl(m), (0, 1, 3), None),
        "mnrl-scale": (lambda: InfoNCE(0.02), lambda m, g: mnrl(m, scale=50.0), (1,), None),
        "mnrl-dot": (lambda: Chain(Dot(), InfoNCE(1.0)), lambda m, g: mnrl(m, 1.0, losses_dot), (0, 2), None),
        "symmetric": (lambda: Symmetric(InfoNCE(0.05)), lambda m, g: both(m), (0, 1, 3), None),
        "query-to-query": (
            lambda: Chain(SameSide(positives=False), InfoNCE(0.05)),
            lambda m, g: mnrl(m, **joint("query_to_query")),
            (0, 2),
            None,
        ),
        "same-side": (
            lambda: Chain(SameSide(), InfoNCE(0.05)),
            lambda m, g: mnrl(m, **joint("query_to_query", "doc_to_doc")),
            (0,),
            None,
        ),
        "triplet-cosine": (
            lambda: Chain(Cosine(), Only("own", Hinge(0.5))),
            lambda m, g: losses.TripletLoss(m, cosine, 0.5),
            (1,),
            None,
        ),
        "triplet-euclidean": (
            lambda: Chain(NegL2(squared=False), Only("own", Hinge(5.0))),
            lambda m, g: losses.TripletLoss(m),
            (1,),
            None,
        ),
        "margin-mse": (lambda: Chain(Dot(), MarginMSE()), lambda m, g: losses.MarginMSELoss(m), (1, 3), "scores"),
        "margin-mse-margins": (
            lambda: Chain(Dot(), MarginMSE()),
            lambda m, g: losses.MarginMSELoss(m),
            (1, 3),
            "margins",
        ),
        "gist": (lambda: gist_loss(), lambda m, g: losses.GISTEmbedLoss(m, g), (0, 1), None),
        "gist-absolute": (
            lambda: gist_loss(0.05, 0.1),
            lambda m, g: losses.GISTEmbedLoss(m, g, 0.05, "absolute", 0.1),
            (0, 1),
            None,
        ),
        "gist-relative": (
            lambda: gist_loss(0.05, 0.2, "relative"),
            lambda m, g: losses.GISTEmbedLoss(m, g, 0.05, "relative", 0.2),
            (0, 1),
            None,
        ),
        "gist-one-side": (
            lambda: gist_loss(0.05, contrast_anchors=False),
            lambda m, g: losses.GISTEmbedLoss(m, g, 0.05, contrast_anchors=False),
            (1,),
            None,
        ),
        "gist-other-side": (
            lambda: gist_loss(0.05, contrast_positives=False),
            lambda m, g: losses.GISTEmbedLoss(m, g, 0.05, contrast_positives=False),
            (1,),
            None,
        ),
        "cached-mnrl": (
            lambda: InfoNCE(0.05),
            lambda m, g: losses.CachedMultipleNegativesRankingLoss(m, mini_batch_size=5),
            (0, 1, 3),
            None,
        ),
        "cached-gist": (
            lambda: gist_loss(),
            lambda m, g: losses.CachedGISTEmbedLoss(m, g, mini_batch_size=5),
            (0, 1, 3),
            None,
        ),
    }


def losses_dot(a, b):
    return a @ b.T


NAMES = [
    *("mnrl", "mnrl-scale", "mnrl-dot", "symmetric", "query-to-query", "same-side", "triplet-cosine"),
    *("triplet-euclidean", "margin-mse", "margin-mse-margins", "gist", "gist-absolute", "gist-relative"),
    *("gist-one-side", "gist-other-side", "cached-mnrl", "cached-gist"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-10)])
def test_value_and_gradient_are_those_of_the_peer(name, dtype, tolerance, shared):
    chain, peer, hard, teacher = peers()[name]
    b = 12
    for h in hard:
        model = Table(b * (2 + h), 16, dtype, 0, shared["model"].tokenizer)
        guide = Table(b * (2 + h), 7, dtype, 1, shared["model"].tokenizer)
        with torch.no_grad():
            guide.weight[b : 2 * b] += guide.weight[:b]  # so that the guide doubts some pairs and not nearly all
        random = torch.Generator().manual_seed(2)
        width = {"scores": h + 1, "margins": h, None: 1}[teacher]
        labels = torch.randn(b, width, generator=random, dtype=torch.float64).to(dtype) if teacher else None
        ours = Loss(
            model, chain(), guide=guide if "gist" in name else None, mini_batch_size=5 if "cached" in name else None
        )
        values, slopes = [], []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = peer(model, guide)
        for loss in (ours, theirs):
            model.weight.grad = None
            value = loss(columns(b, h), labels)
            (2 * value).backward()
            values.append(value.item())
            slopes.append(model.weight.grad)
        assert values[0] == pytest.approx(values[1], rel=tolerance), (name, h)
        assert values[0] != 0
        assert (slopes[0] - slopes[1]).abs().max() <= 10 * tolerance * slopes[1].abs().max(), (name, h)
        assert guide.weight.grad is None


def test_margins_of_one_negative_may_be_a_flat_list(shared):
    from sentence_transformers.sentence_transformer import losses

    model = Table(12, 4, torch.float32, 0, shared["model"].tokenizer)
    labels = torch.tensor([0.5, 2.0, -1.0, 0.0])
    ours, theirs = Loss(model, Chain(Dot(), MarginMSE())), losses.MarginMSELoss(model)
    assert ours(columns(4, 1), labels).item() == pytest.approx(theirs(columns(4, 1), labels).item(), rel=1e-6)


# ---- what a batch means ----------------------------------------------------------------------------------------------


def collated(sign, weight, positive, of, **more):
    """Labels of the litotes collator for B anchors and C candidates."""
    sign = torch.tensor(sign, dtype=torch.int8)
    return {
        "sign": sign,
        "weight": torch.tensor(weight, dtype=torch.float32),
        "positive": torch.tensor(positive),
        "of": torch.tensor(of),
        "anchor_id": torch.arange(len(sign)),
        "candidate_id": 100 + torch.arange(sign.shape[1]),
        **more,
    }


def two_columns(b, c):
    return [{"input_ids": torch.arange(b)[:, None]}, {"input_ids": torch.arange(b, b + c)[:, None]}]


SIGN = [[1, -1, -1, -1], [0, 1, -1, 0], [-1, 0, 1, -1]]
WEIGHT = [[1, 0.5, 0, 0.25], [1, 1, 0.75, 1], [1, 1, 0.5, 1]]


@pytest.mark.parametrize("mini_batch_size", [None, 2])
def test_signs_and_weights_of_the_collator_reach_the_loss(mini_batch_size, shared):
    model = Table(7, 5, torch.float64, 0, shared["model"].tokenizer)
    loss = Loss(model, InfoNCE(0.3), mini_batch_size=mini_batch_size)
    got = loss(two_columns(3, 4), collated(SIGN, WEIGHT, [0, 1, 2], [0, 1, 2, 0]))
    unit = nn.functional.normalize(model.weight.detach(), dim=1)
    e = (unit[:3] @ unit[3:].T / 0.3).exp()
    cost = belief = 0.0
    for i in range(3):
        field = sum(WEIGHT[i][j] * e[i, j].item() for j in range(4) if SIGN[i][j] < 0)
        cost += WEIGHT[i][i] * math.log1p(field / e[i, i].item())
        belief += WEIGHT[i][i]
    assert got.item() == pytest.approx(cost / belief, rel=1e-7)
    got.backward()
    assert (model.weight.grad.abs().sum(dim=1) > 0).all()


def test_teacher_scores_of_the_collator_reach_the_loss(shared):
    model = Table(7, 5, torch.float64, 0, shared["model"].tokenizer)
    teacher = torch.full((3, 4), math.nan)
    teacher[0, :2] = torch.tensor([3.0, 1.0])
    labels = collated(SIGN, [[1.0] * 4] * 3, [0, 1, 2], [0, 1, 2, 0], teacher=teacher)
    got = Loss(model, Chain(Dot(), MarginMSE()))(two_columns(3, 4), labels)
    x = model.weight.detach()
    assert got.item() == pytest.approx(((x[0] @ x[3] - x[0] @ x[4]).item() - 2.0) ** 2, rel=1e-9)


def test_drawn_positives_of_the_collator_are_what_same_side_and_the_guide_see(shared):
    """Two rows draw one candidate; litotes must equal a batch in which every row has its own column."""
    model = Table(7, 5, torch.float64, 0, shared["model"].tokenizer)
    guide = Table(7, 3, torch.float64, 4, shared["model"].tokenizer)
    sign = [[1, -1, -1], [-1, -1, 1], [1, -1, -1]]
    loss = Loss(model, gist_loss(0.2), guide=guide)
    batch = {}

    def keep(module, arguments):
        batch["seen"] = arguments[0]

    loss.chain.objective.register_forward_pre_hook(keep)
    loss(two_columns(3, 3), collated(sign, [[1.0] * 3] * 3, [0, 2, 0], [0, 0, 1]))
    seen = batch["seen"]
    assert seen.sign[:, 3:6].tolist() == [[0, -1, 0], [-1, 0, -1], [0, -1, 0]]
    assert seen.columns["role"].tolist() == [1, -1, 1, 0, 0, 0, 1, 1, 1]
    assert torch.equal(seen.candidates[6:], model.weight[[3, 5, 3]])
    assert torch.equal(seen.columns["guide"][6:], guide.weight[[3, 5, 3]]) and not seen.columns["guide"].requires_grad


def test_plain_columns_are_remarked_on_once(shared):
    model = Table(9, 5, torch.float64, 0, shared["model"].tokenizer)
    loss = Loss(model, InfoNCE())
    with pytest.warns(UserWarning, match="plain columns say nothing of belief: all weights are 1"):
        loss(columns(3, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(columns(3, 1))
        Loss(model, InfoNCE())(two_columns(3, 4), collated(SIGN, WEIGHT, [0, 1, 2], [0, 1, 2, 0]))


def test_time_reaches_a_scheduled_temperature(shared):
    model = Table(6, 5, torch.float64, 0, shared["model"].tokenizer)
    loss = Loss(model, InfoNCE(ScheduledTemperature(0.4, 0.2, "linear")))
    loss.now = Moment(3, 0, 0.5)
    assert loss(columns(3, 0)).item() == pytest.approx(Loss(model, InfoNCE(0.3))(columns(3, 0)).item(), rel=1e-12)


def test_what_cannot_be_read_is_named(shared):
    model = Table(9, 5, torch.float64, 0, shared["model"].tokenizer)
    plain = Loss(model, InfoNCE())
    for make, message in [
        (lambda: Loss(model, gist_loss()), r"Loss: gist\(.*\) needs a guide, got guide=None"),
        (lambda: Loss(model, InfoNCE(), guide=model), "Loss: no part of chain.* reads a guide"),
        (lambda: Loss(model, gist_loss(), guide=model), "Loss: guide is the model in training"),
        (lambda: plain(columns(3, 0)[:1]), "Loss: needs the columns anchor and positive at least, got 1"),
        (lambda: plain(columns(3, 1), {"sign": 0}), r"got 3 columns, labels without \['weight', 'positive', 'of',"),
        (lambda: plain(columns(3, 0), torch.ones(3)), r"Loss: labels must be teacher scores \[3, 1\].* got \[3\]"),
        (lambda: plain(columns(3, 1), torch.ones(3, 5)), r"margins \[3, 1\] for 1 negatives per anchor.* got \[3, 5\]"),
        (lambda: Loss(model, MarginMSE())(columns(3, 1)), "MarginMSE: pairs has no 'teacher', it has nothing"),
        (lambda: Loss(model, Cosine()), "Chain: the last part must be an objective"),
        (lambda: Loss(model, Cached(InfoNCE(), 2), mini_batch_size=3), "and mini_batch_size=3 say one thing twice"),
        (lambda: Loss(model, InfoNCE(), mini_batch_size=0), "Cached: chunk must be an integer >= 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()


def test_the_model_card_hears_of_the_chain_and_its_papers(shared):
    loss = Loss(shared["model"], gist_loss(), guide=shared["guide"], mini_batch_size=4)
    config = loss.get_config_dict()
    assert config["objective"] == str(gist_loss()) and config["mini_batch_size"] == 4
    assert config["guide"] is shared["guide"]
    for key in ("solatorio2024gistembed", "oord2018representation", "gao2021scaling"):
        assert loss.citation.count(key) == 1
    assert Loss(shared["model"], Cached(gist_loss(), 4), guide=shared["guide"]).get_config_dict() == config
    assert "gao2021" not in Loss(shared["model"], InfoNCE()).citation


# ---- real models -----------------------------------------------------------------------------------------------------

TEXTS = ["red sky night", "green grass day sun", "blue sea", "sun moon star stone night day", "stone", "moon night red"]


def test_padding_shared_by_a_chunk_is_cut_off_and_nothing_is_written_back(shared):
    features = dict(shared["model"].preprocess(TEXTS))
    before = features["attention_mask"].clone()
    piece = cut_padded(features, 4, 5)
    assert piece["input_ids"].shape == (1, 3) and piece["modality"] == "text"  # [CLS] stone [SEP]
    piece["attention_mask"].zero_()
    assert torch.equal(features["attention_mask"], before)
    assert cut_padded(features, 3, 6)["input_ids"].shape == features["input_ids"][3:6].shape


@pytest.mark.parametrize("same", [True, False])
def test_the_guide_reads_the_same_texts_whatever_its_vocabulary(same, shared):
    model, guide = shared["model"], shared["guide" if same else "foreign"]
    want = guide.encode(TEXTS, convert_to_tensor=True)
    labels = {"texts": {"anchor": TEXTS, "candidate": TEXTS[::-1]}}
    for size in (None, 4):
        loss = Loss(model, gist_loss(), guide=guide, mini_batch_size=size)
        loss.train()
        assert not loss.guide.training and loss._same_tokens == same
        features = [dict(model.preprocess(TEXTS)), dict(model.preprocess(TEXTS[::-1]))]
        for given in (None, labels):
            got = loss._guided(features, given)
            assert torch.allclose(got[0], want, atol=1e-5) and torch.allclose(got[1], want.flip(0), atol=1e-5)
            assert not got[0].requires_grad
        assert "sentence_embedding" not in features[0]
    assert all(p.grad is None for p in guide.parameters())


def test_a_guide_that_reads_less_than_the_model_gets_the_texts_again(shared):
    short = copy.deepcopy(shared["guide"])
    short.max_seq_length = 4
    loss = Loss(shared["model"], gist_loss(), guide=short)
    assert not loss._same_tokens
    got = loss._guided([dict(shared["model"].preprocess(TEXTS))] * 2, None)
    assert torch.allclose(got[0], short.encode(TEXTS, convert_to_tensor=True), atol=1e-5)


def test_a_guide_may_be_named_by_its_path(shared, tmp_path):
    pytest.importorskip("litotes.data.models")
    shared["guide"].save_pretrained(str(tmp_path / "guide"))
    loss = Loss(shared["model"], gist_loss(), guide=str(tmp_path / "guide"))
    got = loss._guided([dict(shared["model"].preprocess(TEXTS))] * 2, None)
    assert torch.allclose(got[0], shared["guide"].encode(TEXTS, convert_to_tensor=True), atol=1e-5)


@pytest.mark.parametrize(
    "objective", [lambda: Symmetric(InfoNCE(LearnedTemperature(0.1))), lambda: SoftTargetInfoNCE(0.1)]
)
def test_mini_batches_of_a_real_model_change_neither_value_nor_gradient(objective, shared):
    model = copy.deepcopy(shared["model"])
    part, results = objective(), []
    for size in (None, 1, 4):
        loss = Loss(model, part, mini_batch_size=size)
        loss.zero_grad()
        value = loss([dict(model.preprocess(TEXTS)), dict(model.preprocess(TEXTS[::-1]))])
        value.backward()
        results.append((value.item(), {k: p.grad.clone() for k, p in loss.named_parameters() if p.grad is not None}))
    for value, slopes in results[1:]:
        assert value == pytest.approx(results[0][0], rel=1e-6)
        ours = {k.replace("objective.chain.", "objective."): g for k, g in slopes.items()}
        assert ours.keys() == results[0][1].keys()
        scale = max(g.abs().max() for g in ours.values())
        assert all((ours[k] - g).abs().max() < 2e-6 * scale for k, g in results[0][1].items())


def test_dropout_of_a_real_model_is_replayed(shared, tmp_path):
    """The sum of all gradients along the parameters must be the slope of the loss with the masks held fixed."""
    model = tiny_model(tmp_path / "dropout", dropout=0.3).double()
    model.train()
    loss = Loss(model, InfoNCE(0.1), mini_batch_size=2)
    features = lambda: [dict(model.preprocess(TEXTS)), dict(model.preprocess(TEXTS[::-1]))]

    def value():
        torch.manual_seed(3)
        return loss(features())

    value().backward()
    leaf = model[0].auto_model.encoder.layer[0].attention.self.query.weight
    slope, step = leaf.grad.clone(), 1e-6
    with torch.no_grad():
        direction = slope / slope.norm()
        ends = []
        for sign in (1, -1):
            leaf += sign * step * direction
            ends.append(value().item())
            leaf -= sign * step * direction
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope.norm().item(), rel=1e-5)


# ---- the stock trainer -----------------------------------------------------------------------------------------------


def trained(model, loss, rows, tmp_path, collator=None, steps=4):
    """The model after a few steps of the stock trainer, in the order of the rows."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=steps,
        per_device_train_batch_size=len(rows),
        learning_rate=5e-3,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        seed=0,
        disable_tqdm=True,
        logging_strategy="no",
        dataloader_pin_memory=False,
    )
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(rows), loss=loss, data_collator=collator
    )
    trainer.train()
    return model


def collator_of(model, weights):
    """Every row brings its positive and two negatives; candidates are listed once; `weights` by (anchor, candidate)."""
    from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

    class Collator(SentenceTransformerDataCollator):
        def __call__(self, rows):
            brought = [(i, text) for i, row in enumerate(rows) for text in (row["positive"], *row["negatives"])]
            texts = list(dict.fromkeys(text for _, text in brought))
            sign = torch.full((len(rows), len(texts)), -1, dtype=torch.int8)
            drawn = torch.tensor([texts.index(row["positive"]) for row in rows])
            sign[torch.arange(len(rows)), drawn] = 1
            weight = [[weights.get((row["anchor"], text), 1.0) for text in texts] for row in rows]
            batch = {
                "label": collated(
                    sign.tolist(), weight, drawn.tolist(), [dict(map(reversed, brought))[t] for t in texts]
                )
            }
            for name, column in [("anchor", [row["anchor"] for row in rows]), ("candidate", texts)]:
                batch |= {f"{name}_{key}": value for key, value in self.preprocess_fn(column).items()}
            return batch

    return Collator(preprocess_fn=model.preprocess)


ROWS = [
    {"anchor": "red sky", "positive": "night sun", "negatives": ["stone", "moon day"]},
    {"anchor": "green grass", "positive": "day sun", "negatives": ["stone", "blue"]},
    {"anchor": "blue sea", "positive": "moon star", "negatives": ["red", "green"]},
]


def embedded(model):
    return model.encode(["red sky", "green grass", "blue sea", "stone", "night sun"], convert_to_tensor=True)


@pytest.mark.parametrize("mini_batch_size", [None, 2])
def test_a_weight_of_zero_on_disk_is_a_negative_that_the_trainer_never_saw(mini_batch_size, shared, tmp_path):
    def after(weights, rows=ROWS):
        model = copy.deepcopy(shared["model"])
        loss = Loss(model, InfoNCE(0.1), mini_batch_size=mini_batch_size)
        return embedded(trained(model, loss, rows, tmp_path, collator_of(model, weights)))

    everyone = [row["anchor"] for row in ROWS]
    doubted = after({(anchor, "blue"): 0.0 for anchor in everyone})
    removed = after({}, [row | {"negatives": [n for n in row["negatives"] if n != "blue"]} for row in ROWS])
    believed = after({})
    assert torch.allclose(doubted, removed, atol=1e-4)
    assert (believed - removed).abs().max() > 1e-2
    half = after({(anchor, "blue"): 0.5 for anchor in everyone})
    assert min((half - doubted).abs().max(), (half - believed).abs().max()) > 1e-3


@pytest.mark.slow
def test_the_stock_trainer_learns_the_same_with_the_peers_loss(shared, tmp_path):
    from sentence_transformers.sentence_transformer import losses

    rows = [{"anchor": r["anchor"], "positive": r["positive"], "negative": r["negatives"][0]} for r in ROWS]
    ends = []
    for make in (
        lambda m: Loss(m, InfoNCE(0.05)),
        lambda m: Loss(m, InfoNCE(0.05), mini_batch_size=2),
        lambda m: losses.MultipleNegativesRankingLoss(m),
        lambda m: Loss(m, gist_loss(0.05), guide=shared["guide"]),
        lambda m: losses.GISTEmbedLoss(m, shared["guide"], 0.05),
        lambda m: Loss(m, gist_loss(0.05), guide=shared["foreign"]),
        lambda m: losses.GISTEmbedLoss(m, shared["foreign"], 0.05),
    ):
        model = copy.deepcopy(shared["model"])
        ends.append(embedded(trained(model, make(model), rows, tmp_path)))
    assert torch.allclose(ends[0], ends[1], atol=1e-3) and torch.allclose(ends[0], ends[2], atol=1e-3)
    assert torch.allclose(ends[3], ends[4], atol=1e-3) and torch.allclose(ends[5], ends[6], atol=1e-3)
    assert (ends[0] - embedded(shared["model"])).abs().max() > 0.05 and (ends[0] - ends[3]).abs().max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("mini_batch_size", [None, 2])
def test_a_learned_temperature_is_trained_by_the_stock_trainer_and_teacher_labels_arrive(
    mini_batch_size, shared, tmp_path
):
    model = copy.deepcopy(shared["model"])
    learned = LearnedTemperature(0.1)
    trained(
        model,
        Loss(model, InfoNCE(learned), mini_batch_size=mini_batch_size),
        [{"anchor": r["anchor"], "positive": r["positive"]} for r in ROWS],
        tmp_path,
    )
    assert abs(learned().item() - 0.1) > 1e-4

    rows = [
        {"anchor": r["anchor"], "positive": r["positive"], "negative": r["negatives"][0], "label": [2.0, -1.0]}
        for r in ROWS
    ]
    model = copy.deepcopy(shared["model"])
    loss = Loss(model, Chain(Dot(), MarginMSE()), mini_batch_size=mini_batch_size)
    trained(model, loss, rows, tmp_path, steps=60)
    a, p, n = (
        model.encode([row[k] for row in rows], convert_to_tensor=True) for k in ("anchor", "positive", "negative")
    )
    assert ((a * (p - n)).sum(dim=1) - 3.0).abs().max() < 0.5
