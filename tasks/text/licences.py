"""The licence of a Python package, a file or a page, as an SPDX expression where one can be told for certain.

Of a package it is looked for in this order: the ``License-Expression`` field (PEP 639), the ``License`` field, the
trove classifiers, and the wording of the licence file.
"""

import re
from collections.abc import Iterable, Mapping

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

# What tells a licence from others, in lower case without punctuation: its title, or the sentence that it begins with.
# Named without a version it is no licence that SPDX knows (""). A text of a GNU licence does not say "or later".
_TEXTS: tuple[tuple[str, str], ...] = (
    (r"gnu affero general public license(?: v| version)? 3\b", "AGPL-3.0-only"),
    (r"gnu (?:lesser|library) general public license(?: v| version)? (?P<lgpl>2\.1|2|3)\b", "LGPL-{lgpl}-only"),
    (r"gnu general public license(?: v| version)? (?P<gpl>[123])\b", "GPL-{gpl}-only"),
    (r"gnu (?:affero |lesser |library )?general public license", ""),
    (r"apache license(?: v| version)? 2(?:\.0)?\b", "Apache-2.0"),
    (r"mozilla public license(?: v| version)? (?P<mpl>1\.1|2\.0)\b", "MPL-{mpl}"),
    (r"eclipse public license (?:v |version )(?P<epl>[12]\.0)\b", "EPL-{epl}"),
    (r"european union public licence (?:v\. ?|v |version )(?P<eupl>1\.[12])\b", "EUPL-{eupl}"),
    (r"boost software license version 1\.0\b", "BSL-1.0"),
    (r"python software foundation license version 2\b", "PSF-2.0"),
    (r"this is free and unencumbered software released into the public domain", "Unlicense"),
    (r"cc0 1\.0 universal", "CC0-1.0"),
    (
        r"attribution(?P<nc> ?non ?commercial)?(?P<nd> ?no ?deriv(?:ative)?s)?(?P<sa> ?share ?alike)?"
        r" (?P<cc>[34]\.0) (?:international|unported)",
        "CC-BY",
    ),
    (r"redistribution and use in source and binary forms", "BSD"),
    (r"permission is hereby granted free of charge to any person obtaining a copy", "MIT"),
    (r"permission to use copy modify and(?: or)? distribute this software for any purpose with or without fee", "ISC"),
)
_TEXT = re.compile("|".join(f"(?P<_{number}>{pattern})" for number, (pattern, _) in enumerate(_TEXTS)))
_RESTRICTED = re.compile(r"commons clause|used for good not evil")  # added to a free licence, it is another
_BEGINS_WITHIN = 5_000  # characters of a licence file; what stands far below is of something bundled

_HEADER = re.compile(r"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+() \t-]{1,200})")
_HEADER_WITHIN = 4_000  # characters of a file in which its licence is declared
_CREATIVE_COMMONS = re.compile(
    r"^(?:https?:)?//creativecommons\.org/(?:licenses/(?P<terms>by(?:-nc)?(?:-nd|-sa)?)/(?P<version>[1-4]\.[05])"
    r"(?:/(?P<place>[a-z]{2,3}))?|publicdomain/(?P<given>zero|mark)/1\.0)(?:/|$)"
)
_EXPRESSION = re.compile(r"\(?[A-Za-z0-9.+-]+\)?( (AND|OR|WITH) \(?[A-Za-z0-9.+-]+\)?)*")
_KNOWN = {*CLASSIFIERS.values(), *NAMES.values()}
_FILE = re.compile(r"(^|/)(licen[sc]es?|copying|unlicense)([.\-_][^/]*)?$", re.IGNORECASE)
_OF_OTHERS = re.compile(r"third|3rd|part(y|ies)|bundle|vendor|depend|notice|acknowledg|credit", re.IGNORECASE)
_FILE_WITHIN = 20_000  # characters of a licence file that are looked at


def is_licence_file(path: str) -> bool:
    """Whether a file of a package is its licence: ``LICENSE``, ``COPYING.txt``, ``dist-info/licenses/LICENCE.md``."""
    return bool(_FILE.search(path)) and not path.lower().endswith(".py")


def is_of_others(path: str) -> bool:
    """Whether a licence file is that of what lies beside: ``LICENSE-third-party.txt``, ``LICENSES_bundled``."""
    return bool(_OF_OTHERS.search(path.rpartition("/")[2]))


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
    """SPDX expression of a licence file, or None. The first licence in the text is the package's own; an
    ``SPDX-License-Identifier`` line counts before its wording."""
    stated = from_header(text)
    if stated is not None:
        return stated
    words = " ".join(re.sub(r"[^a-z0-9.]+", " ", text[:_FILE_WITHIN].lower()).split())
    found = _TEXT.search(words, 0, _BEGINS_WITHIN)
    if found is None or _RESTRICTED.search(words):
        return None
    licence = next(name for number, (_, name) in enumerate(_TEXTS) if found[f"_{number}"] is not None)
    if licence == "BSD":
        return _bsd(words)
    if licence == "CC-BY":
        terms = "".join(f"-{term.upper()}" for term in ("nc", "nd", "sa") if found[term])
        return f"CC-BY{terms}-{found['cc']}"
    versions = {name: value if "." in value else f"{value}.0" for name, value in found.groupdict().items() if value}
    return licence.format(**versions) or None


def _bsd(words: str) -> str:
    if "all advertising materials mentioning features" in words:
        return "BSD-4-Clause"
    return "BSD-3-Clause" if re.search("neither the name|names of its contributors", words) else "BSD-2-Clause"


def from_files(texts: Mapping[str, str | None]) -> str | None:
    """SPDX expression of what several licence files of one folder or package say together, or None for unknown.

    texts: by name; None: cannot be read. All of them bind, whichever one could choose: LICENSE-MIT beside
    LICENSE-APACHE is ``Apache-2.0 AND MIT``. One that is not recognised makes the whole unknown.
    """
    found = {from_text(text or "") for text in texts.values()}
    if not found or None in found:
        return None
    names = sorted(name for name in found if name)
    return names[0] if len(names) == 1 else " AND ".join(f"({name})" if " " in name else name for name in names)


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
