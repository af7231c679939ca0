import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.data import Example, ExampleBatches, PackedWindows, Span, TokenShards, collate, overlapping


@pytest.fixture
def shards(tmp_path):
    """Two shards: 0…22 and 100…110."""
    paths = [tmp_path / "a.bin", tmp_path / "b.bin"]
    np.arange(23, dtype="<u2").tofile(paths[0])
    np.arange(100, 111, dtype="<u2").tofile(paths[1])
    return TokenShards(paths, "uint16")


def windows(shards, **changes):
    return PackedWindows(shards, **{"context": 5, "batch_size": 3, "seed": 1, **changes})


def test_rows_are_pieces_of_the_stream_with_the_next_token_as_target(shards):
    packed = windows(shards)
    assert packed.num_windows == 4 + 2
    for step in range(4):
        batch = packed(step)
        assert batch["input_ids"].shape == (3, 5) and batch["input_ids"].dtype == torch.int64
        assert torch.equal(batch["targets"], batch["input_ids"] + 1)


def test_an_epoch_reads_every_window_once_and_the_next_in_another_order(shards):
    packed = windows(shards)
    epochs = [packed.windows_at(2 * e) + packed.windows_at(2 * e + 1) for e in range(3)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_epochs_follow_each_other_when_the_batch_does_not_divide_them(shards):
    packed = windows(shards, batch_size=4)
    read = [window for step in range(3) for window in packed.windows_at(step)]
    assert sorted(read[:6]) == sorted(read[6:]) == list(range(6))


def test_a_batch_depends_on_seed_and_step_alone(shards):
    forward = [windows(shards)(step)["input_ids"] for step in (0, 1, 5, 9)]
    packed = windows(shards)
    backward = [packed(step)["input_ids"] for step in (9, 5, 1, 0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert any(windows(shards, seed=2).windows_at(s) != packed.windows_at(s) for s in range(4))


def test_segments_count_the_documents_of_a_row(shards):
    packed = windows(shards, document_end=7, batch_size=6)
    rows = dict(zip(packed.windows_at(0), packed(0)["segment_ids"].tolist(), strict=True))
    assert rows[1] == [0, 0, 0, 1, 1]  # tokens 5 6 7 8 9
    assert rows[0] == [0] * 5


@given(start=st.integers(0, 22), length=st.integers(1, 12), steps=st.integers(1, 9), context=st.integers(1, 9))
def test_steps_that_read_a_document_are_computed(tmp_path_factory, start, length, steps, context):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "t.bin"
    np.arange(23, dtype="<u2").tofile(path)
    packed = windows(TokenShards([path], "uint16"), context=context, batch_size=2)
    document = Span(0, start, min(23, start + length))
    brute = [
        step
        for step in range(steps)
        if any(s.start < document.stop and s.stop > document.start for s in packed.spans_at(step))
    ]
    assert packed.steps_reading([document], steps).tolist() == brute
    assert packed.steps_reading([document, Span(0, 0, 1)], steps).tolist() == sorted(
        {*brute, *packed.steps_reading([Span(0, 0, 1)], steps).tolist()}
    )
    in_order = dict.fromkeys(window for step in range(steps) for window in packed.windows_at(step))
    assert packed.read_by(steps).tolist() == list(in_order)


def test_documents_of_a_step_are_found_in_the_index():
    shard, offset, length = np.array([0, 0, 0, 1]), np.array([0, 5, 9, 0]), np.array([5, 4, 9, 6])
    assert overlapping([Span(0, 5, 9)], shard, offset, length).tolist() == [1]
    assert overlapping([Span(0, 4, 10), Span(1, 5, 8)], shard, offset, length).tolist() == [0, 1, 2, 3]


def test_too_few_tokens_are_refused(shards):
    with pytest.raises(ValueError, match="34 tokens do not fill one row of 40"):
        windows(shards, context=40)


def test_an_empty_file_is_a_shard_without_tokens(tmp_path):
    (tmp_path / "empty.bin").touch()
    assert TokenShards([tmp_path / "empty.bin"], "uint32").num_tokens == 0


def test_collate_by_hand():
    batch = collate([Example([5, 6, 7], [False, True, True]), Example([8, 9], [False, True])], 3, multiple=2)
    assert batch["input_ids"].tolist() == [[5, 6], [8, 9]]
    assert batch["targets"].tolist() == [[6, 7], [9, 3]]
    assert batch["loss_mask"].tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize(("multiple", "context", "width"), [(1, None, 5), (4, None, 8), (4, 6, 6), (4, 3, 5)])
def test_padding_for_a_compiler_stays_within_the_context(multiple, context, width):
    example = Example([1] * 6, [True] * 6)
    assert collate([example], 0, multiple, context)["input_ids"].shape == (1, width)


def examples(count):
    lengths = np.random.default_rng(0).integers(2, 40, count)
    return [Example([number] * length, [True] * length) for number, length in enumerate(lengths.tolist())]


def test_an_epoch_uses_each_example_at_most_once_and_leaves_less_than_a_batch():
    batches = ExampleBatches(examples(50), batch_size=4, seed=0, pad_token_id=0)
    assert batches.steps_per_epoch == 12
    for epoch in (0, 1):
        rows = np.concatenate([batches.rows_at(epoch * 12 + step) for step in range(12)])
        assert len(set(rows.tolist())) == 48
    assert batches.rows_at(0).tolist() != batches.rows_at(12).tolist()
    assert torch.equal(batches(7)["input_ids"][:, 0], torch.from_numpy(batches.rows_at(7)))


def test_bucketing_saves_most_of_the_padding():
    def padded(bucket):
        batches = ExampleBatches(examples(400), batch_size=8, seed=0, pad_token_id=0, bucket=bucket, multiple=1)
        return sum(batches(step)["input_ids"].numel() for step in range(batches.steps_per_epoch))

    real = sum(len(example.ids) - 1 for example in examples(400))
    assert padded(16) < 1.15 * real < 1.5 * real < padded(1)


def test_fewer_examples_than_a_batch_make_one_batch():
    assert ExampleBatches(examples(3), batch_size=8, seed=0, pad_token_id=0)(5)["input_ids"].shape[0] == 3
    with pytest.raises(ValueError, match="no examples"):
        ExampleBatches([], batch_size=8, seed=0, pad_token_id=0)
