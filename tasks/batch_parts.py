"""A batch is divided in no more parts than it has rows: what a part is, the stages say."""


def check_parts(field: str, parts: int, batch_size: int, needs: str) -> None:
    """Raises ValueError where there are too many. field: the setting that gives `parts`; needs: why that is wrong."""
    if parts > batch_size:
        raise ValueError(f"{field} {parts} is more than batch_size {batch_size}: {needs}")
