"""Every mistake the model layer reports to its caller. All are `ValueError`s, and each message says what to do.

ModelError
├── ModelConfigError     sizes that do not fit together, or an architecture this layer does not compute
├── InputError           token ids, masks or settings of a call that cannot be used
├── TokenizerError       a tokenizer file that cannot be read, or one that lacks a token the caller needs
├── ChatError            a conversation that cannot be written in the chat format
├── CompilerMissing      compiling was asked for where no C++ compiler is
├── NotFinite            a model that computes numbers that are not finite
└── ModelFormatError     a model directory that is incomplete, damaged or of another kind
"""

from __future__ import annotations


class ModelError(ValueError):
    """Base of every error of the model layer."""


class ModelConfigError(ModelError):
    """Sizes that do not fit together, or an architecture this layer does not compute."""


class InputError(ModelError):
    """Token ids, masks or settings of a call that cannot be used."""


class TokenizerError(ModelError):
    """A tokenizer file that cannot be read, or one that lacks a token the caller needs."""


class ChatError(ModelError):
    """A conversation that cannot be written in the chat format."""


class ModelFormatError(ModelError):
    """A model directory that is incomplete, damaged or of another kind."""


class NotFinite(ModelError):
    """A model that computes numbers that are not finite."""

    def __init__(self) -> None:
        super().__init__(
            "the model computes numbers that are not finite, so its weights are damaged: copy it again, or train it at "
            "a lower rate."
        )


class CompilerMissing(ModelError):
    """Compiling was asked for where no C++ compiler is."""
