"""docs/model.md says what pretraining costs in each preset of the course, as the model layer counts it."""

from flows.environment import PROJECT
from flows.presets import PRESETS
from flows.settings import Settings
from model.command.presets import HEADER, size, table_head
from model.footprint import footprint
from tasks.pretrain import model_config


def table() -> str:
    """Of all presets, with the columns of `python -m model presets`; counts in full, since `test` is so small."""
    lines = [*table_head(HEADER)]
    for name, preset in PRESETS.items():
        settings = Settings.model_validate(preset)
        config = settings.pretrain
        cost = footprint(
            model_config(config, settings.tokenize.vocab_size),
            rows=-(-config.batch_size // config.accumulation),
            context_length=config.context_length,
            optimizer=config.optimizer,
        )
        tokens = config.num_steps() * config.tokens_per_step
        cells = (
            f"`{name}`", f"{cost.parameters:,}", f"{tokens:,}", f"{cost.flops_per_token:.1e}",
            f"{tokens * cost.flops_per_token:.1e}", size(cost.state_bytes), size(cost.activation_bytes),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_page_tells_what_each_preset_of_the_course_costs() -> None:
    assert table() in (PROJECT / "docs" / "model.md").read_text(encoding="utf-8"), table()
