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
        ("GNU GENERAL PUBLIC LICENSE Version 3", "GPL-3.0-only"),
        ("GNU GENERAL PUBLIC LICENSE\n   Version 2, June 1991", "GPL-2.0-only"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 2.1, February 1999 … the ordinary GNU General Public License",
         "LGPL-2.1-only"),
        ("GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3", "AGPL-3.0-only"),
        ("Mozilla Public License Version 2.0 … GNU General Public License, Version 2.0", "MPL-2.0"),
        ("Creative Commons Legal Code\n\nCC0 1.0 Universal", "CC0-1.0"),
        ("Attribution-NonCommercial-ShareAlike 4.0 International", "CC-BY-NC-SA-4.0"),
        ("Creative Commons Attribution 4.0 International Public License", "CC-BY-4.0"),
        ("Attribution-NoDerivs 3.0 Unported", "CC-BY-ND-3.0"),
        ("This is free and unencumbered software released into the public domain.", "Unlicense"),
        ("Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee", "ISC"),
        (BSD + " All advertising materials mentioning features or use", "BSD-4-Clause"),
        ("Under the GNU General Public License, as published. Permission is hereby granted, free of charge, to any "
         "person obtaining a copy", None),
        ("SPDX-License-Identifier: MIT OR Apache-2.0\nGNU GENERAL PUBLIC LICENSE", "MIT OR Apache-2.0"),
        ("All rights reserved.", None),
    ],
)  # fmt: skip
def test_wording(text, expected):
    assert from_text(text) == expected


def test_licence_files_by_name():
    assert all(map(is_licence_file, ["a/LICENSE", "x.dist-info/licenses/LICENCE.md", "COPYING.txt", "UNLICENSE"]))
    assert not any(map(is_licence_file, ["a/license.py", "a/licensing.md", "README.md"]))
