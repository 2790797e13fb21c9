"""Clusters of one view, seen in another."""

import pytest
import torch

from litotes.sources.structured.prototypes import Prototypes


def test_back_translation_is_the_mean_by_label_and_empty_clusters_are_zero():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], requires_grad=True)
    centroids, counts = Prototypes(3).back_translate(torch.tensor([0, 0, 1]), features)
    assert centroids.tolist() == [pytest.approx([0.5, 0.5]), pytest.approx([0.6, 0.8]), [0.0, 0.0]]
    assert counts.tolist() == [2, 1, 0] and not centroids.requires_grad


def test_its_own_labels_translate_back_to_its_centroids():
    g = torch.Generator().manual_seed(0)
    centres = 10 * torch.randn(4, 3, generator=g)
    features = centres.repeat(25, 1) + torch.randn(100, 3, generator=g)
    part = Prototypes(4, restarts=3)
    labels, centroids = part.fit(features)
    again, counts = part.back_translate(labels, features)
    assert torch.allclose(again, centroids, atol=1e-4) and int(counts.sum()) == 100
    assert all(len(set(labels[i::4].tolist())) == 1 for i in range(4))  # the groups that were made are found
    assert torch.equal(part.fit(features)[0], labels)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="Prototypes: k must be a whole number >= 2, got 1"):
        Prototypes(1)
    with pytest.raises(ValueError, match="2 labels, but 3 features"):
        Prototypes(2).back_translate(torch.zeros(2, dtype=torch.long), torch.zeros(3, 1))
    assert str(Prototypes(5, seed=2)) == "prototypes(k=5, iters=20, restarts=1, seed=2)"
