"""Links of detections to tracks, by hand, and what counts as following an object."""

import numpy as np
import pytest
import torch

from litotes.audit.association import OnlineLinker, association

E = 3 * torch.eye(4)
SURE = torch.tensor([0.9, 0.8, 0.5])


def test_same_embeddings_keep_their_ids_and_an_unlike_one_is_new():
    linker = OnlineLinker()
    assert linker.step(E[:2], SURE[:2]).tolist() == [0, 1]
    assert linker.step(E[[1, 0]], SURE[:2]).tolist() == [1, 0]
    assert linker.step(E[[0, 1, 2]], SURE).tolist() == [0, 1, 2]


def test_alone_an_unlike_detection_is_absorbed():
    linker = OnlineLinker()
    linker.step(E[:2], SURE[:2])
    alike, _, _ = linker._alike(E[2:3])
    assert alike[0] == pytest.approx([0.75, 0.75])
    assert linker.step(E[2:3], SURE[:1]).tolist() == [0]
    alone = OnlineLinker()
    alone.step(E[:1], SURE[:1])
    assert alone._alike(E[2:3])[0][0] == pytest.approx([1.0])


def test_a_track_outlives_twenty_unseen_frames_and_no_more():
    for unseen, wanted in ((20, 0), (21, 2)):
        linker = OnlineLinker()
        linker.step(E[:2], SURE[:2])
        for _ in range(unseen):
            assert linker.step(E[1:2] + 0, SURE[:1]).tolist() == [1]
        assert linker.step(E[[1, 0]], SURE[:2]).tolist() == [1, wanted]


def test_unsure_detections_start_no_track_and_the_surest_chooses_first():
    linker = OnlineLinker(metric="cosine")
    assert linker.step(E[:2], torch.tensor([0.9, 0.005])).tolist() == [0, -1]
    near = torch.stack([E[0] + 0.1 * E[1], E[0]])
    assert linker.step(near, torch.tensor([0.9, 0.5])).tolist() == [0, 1]  # the second is nearer, but comes second


def test_a_track_that_was_seen_more_counts_more():
    def seen(weighed):
        linker = OnlineLinker(metric="cosine", frame_weight=weighed)
        linker.step(E[:1], SURE[:1])
        linker.step(E[:1], SURE[:1])
        linker.step(E[:2], SURE[:2])
        return linker.step(0.7 * E[:1] + 0.8 * E[1:2], SURE[:1]).tolist()

    assert seen(True) == [0] and seen(False) == [1]


def frames(*rows):
    return [np.array(row) for row in rows]


def test_accuracy_is_one_to_one_and_switches_are_counted():
    truth = frames([0, 1, -1], [0, 1], [1], [0, 1])
    assert association(truth, frames([5, 6, 7], [5, 6], [6], [5, 6])) == (1.0, 0, 7)
    assert association(truth, frames([5, 6, 7], [6, 5], [5], [6, 5])) == (5 / 7, 2, 7)
    own = association(truth, frames([0, 1, 2], [3, 4], [5], [6, 7]))  # a new id each time: one hit per object
    assert own == (2 / 7, 5, 7)
    merged = association(truth, frames([0, 0, 0], [0, 0], [0], [0, 0]))
    assert merged == (4 / 7, 0, 7)
    assert association(truth, frames([-1] * 3, [-1] * 2, [-1], [-1] * 2)).accuracy == 0
    assert association(frames([-1]), frames([3])) == (0.0, 0, 0)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="same frames"):
        association(frames([0]), frames([0, 1]))
    with pytest.raises(ValueError, match="metric"):
        OnlineLinker(metric="dot")
    with pytest.raises(ValueError, match="max_age"):
        OnlineLinker(max_age=-1)
