import itertools
import random

import pytest

from tasks.report.layers import Layout, Sizes, layout

SIZES = Sizes()


def random_graph(seed: int, count: int = 60) -> tuple[list[str], list[tuple[str, str]]]:
    chance = random.Random(seed)
    names = [f"n{number}" for number in range(count)]
    edges = [(names[chance.randrange(number)], names[number]) for number in range(1, count) for _ in range(2)]
    return names, edges


def overlapping(plan: Layout) -> list[tuple[str, str]]:
    found = []
    for (one, (x, y)), (other, (a, b)) in itertools.combinations(plan.nodes.items(), 2):
        if abs(x - a) < SIZES.node_width and abs(y - b) < SIZES.node_height:
            found.append((one, other))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_every_edge_goes_right_and_no_two_nodes_overlap(seed: int) -> None:
    names, edges = random_graph(seed)
    plan = layout(names, edges)
    assert set(plan.nodes) == set(names)
    for source, target in edges:
        assert plan.nodes[target][0] >= plan.nodes[source][0] + SIZES.node_width + SIZES.gap_x
    assert overlapping(plan) == []
    for x, y in plan.nodes.values():
        assert 0 <= x <= plan.width - SIZES.node_width and 0 <= y <= plan.height - SIZES.node_height


@pytest.mark.parametrize("seed", range(5))
def test_no_edge_runs_under_a_node(seed: int) -> None:
    plan = layout(*random_graph(seed))
    for source, target, points in plan.edges:
        for (x, y), (end, _) in zip(points[1:-1:2], points[2:-1:2], strict=True):
            for name, (left, top) in plan.nodes.items():
                if name not in (source, target) and left < end and x < left + SIZES.node_width:
                    assert not top < y < top + SIZES.node_height, (source, target, name)


def test_a_chain_is_a_straight_line() -> None:
    plan = layout("abc", [("a", "b"), ("b", "c")])
    assert len({y for _, y in plan.nodes.values()}) == 1


def test_crossings_are_untangled() -> None:
    plan = layout(["a", "b", "x", "y"], [("a", "y"), ("b", "x")])
    assert (plan.nodes["a"][1] < plan.nodes["b"][1]) == (plan.nodes["y"][1] < plan.nodes["x"][1])


def test_order_of_the_arguments_does_not_matter() -> None:
    names, edges = random_graph(3)
    assert layout(names, edges) == layout(names[::-1], edges[::-1])


def test_a_cycle_and_an_unknown_node_are_errors() -> None:
    with pytest.raises(ValueError, match="cycle"):
        layout("ab", [("a", "b"), ("b", "a")])
    with pytest.raises(ValueError, match="not given"):
        layout("a", [("a", "z")])


def test_nothing_to_draw_is_a_small_empty_drawing() -> None:
    plan = layout([], [])
    assert plan.nodes == {} and plan.height == SIZES.margin
