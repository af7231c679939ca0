import torch

from model.seeding import derive, generator, numpy_generator


def test_a_stream_depends_on_seed_and_every_name_and_nothing_else():
    torch.manual_seed(5)
    first = torch.rand(4, generator=generator(1, "rollout", 3))
    torch.manual_seed(6)
    assert torch.equal(first, torch.rand(4, generator=generator(1, "rollout", 3)))
    others = [derive(1, "rollout", 4), derive(2, "rollout", 3), derive(1, "rollout3"), derive(1, "roll", "out", 3)]
    assert len({derive(1, "rollout", 3), *others}) == 5


def test_golden_seed():
    assert derive(0, "pretrain") == 8634468014319236953


def test_numpy_streams_repeat_and_differ_by_name():
    drawn = [numpy_generator(0, name).integers(0, 10**9, 3).tolist() for name in ("a", "a", "b")]
    assert drawn[0] == drawn[1] != drawn[2]
