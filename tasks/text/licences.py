"""The licence of a Python package, a file or a page, as an SPDX expression where one can be told for certain.

Of a package it is looked for in this order: the ``License-Expression`` field (PEP 639), the ``License`` field, the
trove classifiers, and the wording of the licence file.
"""

import re
from collections.abc import Iterable

# Only classifiers that name one licence; "BSD License", for one, could be two- or three-clause.
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Historical Permission Notice and Disclaimer (HPND)": "HPND",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "zlib/libpng License": "Zlib",
}

# What people write in the License field, lower case, without "the", "license" and punctuation.
NAMES = {
    "mit": "MIT", "expat": "MIT", "mit-cmu": "MIT-CMU", "apache-2.0": "Apache-2.0", "apache 2.0": "Apache-2.0",
    "apache 2": "Apache-2.0", "apache-2": "Apache-2.0", "apache": "Apache-2.0", "apache software": "Apache-2.0",
    "apache version 2.0": "Apache-2.0", "apache software 2.0": "Apache-2.0", "asl 2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause", "bsd 3-clause": "BSD-3-Clause", "3-clause bsd": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause", "modified bsd": "BSD-3-Clause", "bsd-2-clause": "BSD-2-Clause",
    "bsd 2-clause": "BSD-2-Clause", "2-clause bsd": "BSD-2-Clause", "simplified bsd": "BSD-2-Clause",
    "isc": "ISC", "mpl-2.0": "MPL-2.0", "mpl 2.0": "MPL-2.0", "mozilla public 2.0": "MPL-2.0", "psf": "PSF-2.0",
    "psf-2.0": "PSF-2.0", "python software foundation": "PSF-2.0", "unlicense": "Unlicense", "zlib": "Zlib",
    "hpnd": "HPND", "0bsd": "0BSD", "gpl-3.0-or-later": "GPL-3.0-or-later", "gplv3": "GPL-3.0-only",
    "lgpl-3.0": "LGPL-3.0-only", "lgplv3": "LGPL-3.0-only", "lgplv3+": "LGPL-3.0-or-later",
}  # fmt: skip

# The sentence that tells a licence from others. The GNU licences' texts do not say "only" or "or later".
_PHRASES = (
    ("apache license version 2.0", "Apache-2.0"),
    ("mozilla public license version 2.0", "MPL-2.0"),
    ("redistribution and use in source and binary forms", "BSD"),
    ("permission is hereby granted free of charge to any person obtaining a copy", "MIT"),
    ("permission to use copy modify and or distribute this software for any purpose with or without fee", "ISC"),
    ("python software foundation license version 2", "PSF-2.0"),
    ("gnu lesser general public license", ""),
    ("gnu general public license", ""),
)

_HEADER = re.compile(r"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+() \t-]{1,200})")
_HEADER_WITHIN = 4_000  # characters of a file in which its licence is declared
_CREATIVE_COMMONS = re.compile(
    r"^(?:https?:)?//creativecommons\.org/(?:licenses/(?P<terms>by(?:-nc)?(?:-nd|-sa)?)/(?P<version>[1-4]\.[05])"
    r"(?:/(?P<place>[a-z]{2,3}))?|publicdomain/(?P<given>zero|mark)/1\.0)(?:/|$)"
)
_EXPRESSION = re.compile(r"\(?[A-Za-z0-9.+-]+\)?( (AND|OR|WITH) \(?[A-Za-z0-9.+-]+\)?)*")
_KNOWN = {*CLASSIFIERS.values(), *NAMES.values()}
_FILE = re.compile(r"(^|/)(licen[sc]es?|copying|unlicense)([.\-_][^/]*)?$", re.IGNORECASE)


def is_licence_file(path: str) -> bool:
    """Whether a file of a package is its licence: ``LICENSE``, ``COPYING.txt``, ``dist-info/licenses/LICENCE.md``."""
    return bool(_FILE.search(path)) and not path.lower().endswith((".py", ".html"))


def from_metadata(expression: str | None, license_field: str | None, classifiers: Iterable[str]) -> str | None:
    """SPDX expression told by a package's metadata, or None if it does not say which licence."""
    if expression and _EXPRESSION.fullmatch(expression.strip()):
        return expression.strip()
    named = _by_name(license_field or "")
    if named:
        return named
    named_by = [line.split(" :: ")[-1] for line in classifiers if line.startswith("License ::")]
    found = {CLASSIFIERS[name] for name in named_by if name in CLASSIFIERS}
    if found and all(name in CLASSIFIERS or name == "OSI Approved" for name in named_by):
        return " OR ".join(sorted(found))
    return from_text(license_field) if license_field and "\n" in license_field else None


def _by_name(name: str) -> str | None:
    name = name.strip()
    if not name or len(name) > 60:
        return None
    if name in _KNOWN:
        return name
    plain = re.sub(r"\b(the|licen[sc]e)\b|[,\"'()]", " ", name.lower())
    return NAMES.get(" ".join(plain.split()))


def from_text(text: str) -> str | None:
    """SPDX identifier of a licence's wording, or None. The first licence in the text is the package's own."""
    words = " ".join(re.sub(r"[^a-z0-9.]+", " ", text[:20_000].lower()).split())
    first = min(((words.find(phrase), licence) for phrase, licence in _PHRASES if phrase in words), default=None)
    if first is None:
        return None
    if first[1] == "BSD":
        named = "neither the name" in words or "names of its contributors" in words
        return "BSD-3-Clause" if named else "BSD-2-Clause"
    return first[1] or None


def from_header(text: str) -> str | None:
    """The expression of the ``SPDX-License-Identifier`` line in the beginning of a file, or None."""
    found = _HEADER.search(text, 0, _HEADER_WITHIN)
    expression = " ".join(found.group(1).split()) if found else ""
    return expression if expression and _EXPRESSION.fullmatch(expression) else None


def from_url(url: str) -> str | None:
    """SPDX identifier of the Creative Commons licence or waiver at an address, or None.

    https://creativecommons.org/licenses/by-sa/4.0/ → CC-BY-SA-4.0; …/by/3.0/de/ → CC-BY-3.0-DE.
    """
    found = _CREATIVE_COMMONS.match(url.strip().lower())
    if found is None:
        return None
    if found["given"]:
        return "CC0-1.0" if found["given"] == "zero" else "CC-PDDC"
    place = f"-{found['place'].upper()}" if found["place"] else ""
    return f"CC-{found['terms'].upper()}-{found['version']}{place}"
