"""Mistakes that only the command line can see; those of the computation are in model/errors.py."""

from model.errors import ModelError


class CommandError(ModelError):
    """An option, a folder or a text that cannot be used; the message says what to do."""


class TextError(CommandError):
    """A text that is missing, empty or not text."""
