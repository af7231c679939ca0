"""The licence of a file by the licence files that lie about it: the nearest decide, and never the laxer of two."""

from pathlib import Path

import fsspec
import pytest

from tasks.text.folder_licences import on_this_machine
from tasks.text.remote import remote_files

MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"
GPL = (
    "GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007\nEveryone is permitted to copy and distribute verbatim copies"
)
APACHE = "Apache License\nVersion 2.0, January 2004"
PROPRIETARY = "All rights reserved. No use permitted."


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "MIT"),
        ({"COPYING": GPL}, "GPL-3.0-only"),
        ({"LICENSE": PROPRIETARY}, None),
        ({"License.html": f"<p>{PROPRIETARY}"}, None),
        ({"LICENSE.txt": ""}, None),
        ({"COPYING": GPL, "LICENSE-third-party.txt": MIT}, "GPL-3.0-only"),
        ({"LICENSE-3RD-PARTY": GPL, "license.py": "x = 1", "licenses.jsonl": "{}"}, "MIT"),
        ({"LICENSE-MIT": MIT, "LICENSE-APACHE": APACHE}, "Apache-2.0 AND MIT"),
        ({"LICENSE": MIT, "COPYING": PROPRIETARY}, None),
        ({"LICENSE": "SPDX-License-Identifier: MIT OR GPL-2.0-only\n", "COPYING": APACHE},
         "Apache-2.0 AND (MIT OR GPL-2.0-only)"),
        ({"LICENSE": PROPRIETARY + " word" * 2000 + MIT}, None),
        ({"LICENSE": MIT + " Commons Clause License Condition v1.0"}, None),
    ],
)  # fmt: skip
def test_the_nearest_licence_files_decide(tmp_path: Path, files: dict[str, str], expected: str | None) -> None:
    (tmp_path / "LICENSE").write_text(MIT)
    (tmp_path / "vendor" / "deep").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "vendor" / name).write_text(text)
    found = on_this_machine(tmp_path)
    assert found.of(tmp_path / "vendor" / "deep" / "x.py") == found.of(tmp_path / "vendor" / "y.py") == expected
    assert found.of(tmp_path / "z.py") == "MIT"
    assert found.of(tmp_path.parent / "z.py") is None


def test_a_licence_file_that_leads_nowhere_is_no_reason_to_take_another(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text(MIT)
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "COPYING").symlink_to("nowhere")
    assert on_this_machine(tmp_path).of(tmp_path / "vendor" / "x.py") is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory://t", {"a.txt": "MIT", "b.txt": "GPL-3.0-only"}), ("memory://t/*.txt", {"a.txt": "MIT"}),
        ("memory://t/**/*.txt", {"a.txt": "MIT", "b.txt": "GPL-3.0-only"}), ("memory://t/a.txt", {"a.txt": None}),
    ],
)  # fmt: skip
def test_elsewhere_they_are_looked_for_in_folders_and_globs(url: str, expected: dict[str, str | None]) -> None:
    filesystem = fsspec.filesystem("memory")
    for name, text in {"a.txt": "one", "LICENSE": MIT, "d/b.txt": "two", "d/COPYING": GPL}.items():
        filesystem.pipe(f"/t/{name}", text.encode())
    try:
        assert {file.name.rpartition("/")[2]: file.license for file in remote_files(url)[0]} == expected
    finally:
        filesystem.store.clear()
