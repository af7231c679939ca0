"""Telling TeX source from plain text.

Its commands are no prose, and what they would print cannot be told without running TeX: a document of them is better
left out than half understood. A formula or two in a text do not make it TeX source.
"""

import re

_BEGINNING = re.compile(r"\\documentclass\b|\\begin\{document\}|\\documentstyle\b|\\input\s+amstex\b")
_COMMAND = re.compile(
    r"\\(?:begin|end|section|subsection|subsubsection|chapter|paragraph|cite[pt]?|ref|eqref|label|usepackage|footnote|"
    r"textbf|textit|texttt|emph|item|newcommand|renewcommand|def|includegraphics|caption|bibitem|title|author|"
    r"maketitle|frac|left|right|mathbf|mathrm|mathcal)\b"
)
_BEGINS_WITHIN = 2000  # characters: further on, a text may well speak of TeX
_FEWEST, _CHARS_A_COMMAND = 8, 150  # commands that make a text TeX source: so many, and one in so many characters


def is_tex(text: str) -> bool:
    """Whether a text is TeX source: it says so, or a command of TeX stands in every 150 characters or oftener."""
    if "\\" not in text:
        return False
    if _BEGINNING.search(text, 0, _BEGINS_WITHIN):
        return True
    commands = sum(1 for _ in _COMMAND.finditer(text))
    return commands >= max(_FEWEST, len(text) / _CHARS_A_COMMAND)
