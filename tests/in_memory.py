"""Documents that lie together in memory instead of in a corpus."""

import pyarrow as pa


class InMemory:
    """As a row group of a corpus. table: the documents' columns."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def read(self, columns: list[str]) -> pa.Table:
        """Some columns of them."""
        return self._table.select(columns)
