"""What a Python file documents, and how it is shown."""

import pytest

from tasks.text.docstrings import display_name, documented_objects, first_paragraph, is_public, render

SOURCE = b'''"""About the module."""
import typing

if True:
    def conditional(x: int = 3, *, key="a very long default value indeed", **rest):
        """Only sometimes there."""

async def later(first, /, second, *more, third=None):
    "Runs later."
    def inner():
        """Not an object of the module."""

class Shape:
    """A shape."""

    def __init__(self, width, height=1.5):
        self.width = width

    @property
    def area(self):
        """The area."""

    @area.setter
    def area(self, value):
        """Not shown twice."""

    @staticmethod
    def unit(size):
        """A unit shape."""

    @classmethod
    def parse(cls, text):
        """Parse
        a shape.

        More.
        """

    class Corner:
        """Where two sides meet."""

    def undocumented(self): pass

@typing.overload
def twice(x):
    """An overload."""
def twice(x):
    """The real one."""
'''


@pytest.fixture(scope="module")
def objects():
    return {item.qualname: item for item in documented_objects(SOURCE, "shapes")}


def test_every_documented_object_is_found_once(objects):
    assert {name: item.kind for name, item in objects.items()} == {
        "": "module", "conditional": "function", "later": "function", "Shape": "class", "Shape.area": "property",
        "Shape.unit": "method", "Shape.parse": "method", "Shape.Corner": "class", "twice": "function",
    }  # fmt: skip
    assert objects["twice"].docstring == "The real one."
    assert objects["Shape.area"].docstring == "The area."


def test_arguments_are_shown_without_self_annotations_and_long_defaults(objects):
    assert objects["conditional"].arguments == "x=3, *, key=..., **rest"
    assert objects["later"].arguments == "first, second, *more, third=None"
    assert objects["later"].parameters == ("first", "second", "more", "third")
    assert objects["Shape"].arguments == "width, height=1.5"
    assert objects["Shape.unit"].arguments == "size"
    assert objects["Shape.parse"].arguments == "text"


def test_rendering_starts_with_the_name_a_user_would_write(objects):
    assert render(objects["Shape.parse"], "pack._private.shapes") == (
        "pack.shapes.Shape.parse(text)\n\nParse\na shape.\n\nMore.\n"
    )
    assert render(objects[""], "shapes") == "shapes\n\nAbout the module.\n"
    assert display_name("sklearn.linear_model._ridge", "Ridge.fit") == "sklearn.linear_model.Ridge.fit"
    assert display_name("_pytest.capture", "") == "_pytest.capture"


def test_names_with_an_underscore_are_private():
    assert is_public("Shape.area") and is_public("")
    assert not is_public("Shape.__init__") and not is_public("_Shape.area")


def test_the_first_paragraph_is_one_line(objects):
    assert first_paragraph(objects["Shape.parse"].docstring) == "Parse a shape."


def test_lone_surrogates_in_a_literal_do_not_reach_a_document():
    [item] = documented_objects(b'"""bad \\ud800 one"""', "m")
    assert item.docstring == "bad ? one"


@pytest.mark.parametrize("source", [b"def f(:\n", b"\x00", b"x = 1\n\tif"])
def test_what_is_no_python_raises(source):
    with pytest.raises((SyntaxError, ValueError)):
        documented_objects(source, "m")


def test_files_without_docstrings_give_nothing():
    assert documented_objects(b"", "m") == []
    assert documented_objects(b"x = 1\nclass A: x = 2\n", "m") == []
