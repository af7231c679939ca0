"""Data sets of the hub, at a fixed commit (the hub itself is replaced: no network here), and folders that are none."""

from types import SimpleNamespace

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.lineage.errors import ConfigError
from tasks.text.huggingface import read_dataset, splits_of
from tasks.text.items import Item
from tasks.text.sources import Source

SOURCE = Source(kind="huggingface", path="someone/some-data", subset="small", revision="main")


class Hub:
    def dataset_info(self, name, revision=None):
        assert (name, revision) == ("someone/some-data", "main")
        return SimpleNamespace(sha="abc123", card_data={"license": "cc-by-4.0"})


def builder(name, subset, revision):
    assert (name, subset, revision) == ("someone/some-data", "small", "abc123")
    splits = {"train": SimpleNamespace(num_bytes=10), "test": SimpleNamespace(num_bytes=None)}
    return SimpleNamespace(info=SimpleNamespace(splits=splits), config=SimpleNamespace(name="small"))


def test_a_hub_data_set_is_named_by_its_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    test, train = splits_of(SOURCE, tmp_path, lambda path: "")
    assert train.uri == "hf://someone/some-data@abc123/small/train"
    assert (train.size, train.license, train.origin) == (10, "cc-by-4.0", "hf://someone/some-data")
    assert test.size == 0 and test.sha256 != train.sha256
    [only] = splits_of(SOURCE.model_copy(update={"split": "test"}), tmp_path, lambda path: "")
    assert only == test
    with pytest.raises(ConfigError, match="has no split 'dev'"):
        splits_of(SOURCE.model_copy(update={"split": "dev"}), tmp_path, lambda path: "")


def test_the_splits_of_a_hub_data_set_that_does_not_describe_them_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    undescribed = SimpleNamespace(info=SimpleNamespace(splits=None), config=SimpleNamespace(name="small"))
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: undescribed)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, subset, revision: ["train"])
    [train] = splits_of(SOURCE, tmp_path, lambda path: "")
    assert (train.uri, train.size) == ("hf://someone/some-data@abc123/small/train", 0)


def test_a_hub_split_is_streamed_at_that_commit(tmp_path, monkeypatch):
    pq.write_table(pa.table({"text": ["one", "two"]}), tmp_path / "a.parquet")
    streamed = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "a.parquet"), split="train", streaming=True, cache_dir=str(tmp_path / "c")
    )
    assert isinstance(streamed, datasets.IterableDataset)

    def load(name, subset, split, revision, streaming):
        assert (name, subset, split, revision) == ("someone/some-data", "small", "train", "abc123")
        assert streaming
        return streamed

    monkeypatch.setattr(datasets, "load_dataset", load)
    uri = "hf://someone/some-data@abc123/small/train"
    rows = list(read_dataset(Item(uri, 0, "", "hf://someone/some-data", None, "dataset", 0, None), 1000))
    assert [(row.line, row.fields) for row in rows] == [(1, {"text": "one"}), (2, {"text": "two"})]


def test_an_unreachable_hub_says_what_to_do(tmp_path, monkeypatch):
    def fail(self, name, revision=None):
        raise ConnectionError("no route")

    monkeypatch.setattr(Hub, "dataset_info", fail)
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    with pytest.raises(ConfigError, match="neither a folder here nor to be had from the hub: no route"):
        splits_of(SOURCE, tmp_path, lambda path: "")


def test_a_folder_of_plain_files_is_pointed_to_the_other_kind(tmp_path):
    (tmp_path / "plain").mkdir()
    with pytest.raises(ConfigError, match="read plain files with kind 'files'"):
        splits_of(Source(kind="huggingface", path="plain"), tmp_path, lambda path: "")
