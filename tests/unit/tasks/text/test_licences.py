"""SPDX licences of packages, where they can be told."""

import pytest

from tasks.text.licences import from_metadata, from_text, is_licence_file

BSD = "Redistribution and use in source and binary forms, with or without modification, are permitted"


@pytest.mark.parametrize(
    ("expression", "field", "classifiers", "expected"),
    [
        ("MIT OR Apache-2.0", "ignored", [], "MIT OR Apache-2.0"),
        ("not; an expression", None, [], None),
        (None, "The MIT License", [], "MIT"),
        (None, "Apache License, Version 2.0", [], "Apache-2.0"),
        (None, "BSD-3-Clause", ["License :: OSI Approved :: MIT License"], "BSD-3-Clause"),
        (None, "BSD", ["License :: OSI Approved :: BSD License"], None),
        (None, None, ["License :: OSI Approved :: MIT License", "Topic :: X"], "MIT"),
        (None, None, ["License :: OSI Approved :: MIT License", "License :: OSI Approved :: Apache Software License"],
         "Apache-2.0 OR MIT"),
        (None, None, ["License :: OSI Approved :: MIT License", "License :: OSI Approved :: BSD License"], None),
        (None, f"Copyright (c) someone\n{BSD}\nNeither the name of the copyright holder", [], "BSD-3-Clause"),
        (None, "proprietary", [], None),
    ],
)  # fmt: skip
def test_metadata(expression, field, classifiers, expected):
    assert from_metadata(expression, field, classifiers) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Permission is hereby granted, free of charge, to any person obtaining a copy", "MIT"),
        ("                Apache License\n           Version 2.0, January 2004", "Apache-2.0"),
        (BSD, "BSD-2-Clause"),
        (BSD + " ... Neither the name of X", "BSD-3-Clause"),
        (BSD + " Neither the name. Bundled: GNU General Public License", "BSD-3-Clause"),
        ("GNU GENERAL PUBLIC LICENSE Version 3", None),
        ("All rights reserved.", None),
    ],
)
def test_wording(text, expected):
    assert from_text(text) == expected


def test_licence_files_by_name():
    assert all(map(is_licence_file, ["a/LICENSE", "x.dist-info/licenses/LICENCE.md", "COPYING.txt", "UNLICENSE"]))
    assert not any(map(is_licence_file, ["a/license.py", "a/licensing.md", "README.md"]))
