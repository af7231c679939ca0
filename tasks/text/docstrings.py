"""Documented objects of a Python file, found by parsing it: nothing is imported or run.

Stands alone (the standard library only), because what it finds is remembered under the digest of this file: see
``tasks.text.documented``.
"""

import ast
import inspect
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

_LONGEST_DEFAULT = 24  # characters of a default value that a signature shows


@dataclass(frozen=True)
class DocumentedObject:
    """A module, class, function, method or property that has a docstring.

    ``qualname`` is the name within the module (empty for the module itself); ``arguments`` is the argument list as
    written, without ``self``, annotations and long defaults; ``parameters`` holds only the names.
    """

    qualname: str
    kind: str
    arguments: str
    parameters: tuple[str, ...]
    docstring: str


def documented_objects(source: bytes, module: str) -> list[DocumentedObject]:
    """All documented objects of a file, in the order of the file; the first of several with the same name.

    Raises SyntaxError, ValueError (null bytes), RecursionError or MemoryError for a file that Python cannot parse.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's string literals
        tree = ast.parse(source)
    found: dict[str, DocumentedObject] = {}
    text = _docstring(tree)
    if text:
        found[""] = DocumentedObject("", "module", "", (), text)
    for item in _objects(tree.body, "", in_class=False):
        found.setdefault(item.qualname, item)
    return list(found.values())


def _objects(body: list[ast.stmt], prefix: str, in_class: bool) -> Iterator[DocumentedObject]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            text = _docstring(node)
            if text:
                arguments, parameters = _constructor(node)
                yield DocumentedObject(prefix + node.name, "class", arguments, parameters, text)
            yield from _objects(node.body, f"{prefix}{node.name}.", in_class=True)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = _docstring(node)
            decorators = {_last_name(decorator) for decorator in node.decorator_list}
            if not text or decorators & {"overload", "setter", "deleter"}:
                continue
            is_property = any(name.endswith("property") for name in decorators)
            kind = ("property" if is_property else "method") if in_class else "function"
            static = "staticmethod" in decorators
            arguments, parameters = ("", ()) if is_property else _signature(node.args, in_class and not static)
            yield DocumentedObject(prefix + node.name, kind, arguments, parameters, text)
        elif isinstance(node, ast.If | ast.Try):
            branches = [node.body, node.orelse, *(handler.body for handler in getattr(node, "handlers", []))]
            for branch in branches:
                yield from _objects(branch, prefix, in_class)


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        text = inspect.cleandoc(first.value.value).strip()
        return text.encode("utf-8", "replace").decode()  # a literal may hold lone surrogates, which no file can
    return ""


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _constructor(node: ast.ClassDef) -> tuple[str, tuple[str, ...]]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _signature(item.args, bound=True)
    return "", ()


def _signature(arguments: ast.arguments, bound: bool) -> tuple[str, tuple[str, ...]]:
    """Argument list as one string, and the parameters' names; the first one is left out of a bound method."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults += arguments.defaults
    pairs = list(zip(positional, defaults, strict=True))[1 if bound and positional else 0 :]
    shown = [_argument(argument, default) for argument, default in pairs]
    names = [argument.arg for argument, _ in pairs]
    if arguments.vararg:
        shown.append("*" + arguments.vararg.arg)
        names.append(arguments.vararg.arg)
    elif arguments.kwonlyargs:
        shown.append("*")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        shown.append(_argument(argument, default))
        names.append(argument.arg)
    if arguments.kwarg:
        shown.append("**" + arguments.kwarg.arg)
        names.append(arguments.kwarg.arg)
    return ", ".join(shown), tuple(names)


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    if default is None:
        return argument.arg
    text = _short(default)
    return f"{argument.arg}={text}" if len(text) <= _LONGEST_DEFAULT and "\n" not in text else f"{argument.arg}=..."


def _short(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return repr(node.value)
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute | ast.UnaryOp | ast.Tuple | ast.List | ast.Dict):
        return ast.unparse(node)
    return "..."


def is_public(qualname: str) -> bool:
    """Whether no part of the name begins with an underscore."""
    return not any(part.startswith("_") for part in qualname.split("."))


def display_name(module: str, qualname: str) -> str:
    """The name that a user would write: private modules on the way are left out, since they are re-exported above.

    ``sklearn.linear_model._ridge`` and ``Ridge.fit`` → ``sklearn.linear_model.Ridge.fit``.
    """
    parts = module.split(".")
    public = [part for index, part in enumerate(parts) if index == 0 or not part.startswith("_")]
    return ".".join(public + ([qualname] if qualname else []))


def render(item: DocumentedObject, module: str) -> str:
    """Text of a docstring document: the name with its arguments on the first line, then the docstring."""
    name = display_name(module, item.qualname)
    call = item.kind in ("function", "method") or (item.kind == "class" and item.arguments)
    return f"{name}({item.arguments})\n\n{item.docstring}\n" if call else f"{name}\n\n{item.docstring}\n"


def first_paragraph(docstring: str) -> str:
    """First paragraph of a docstring on one line."""
    return " ".join(re.split(r"\n\s*\n", docstring.strip(), maxsplit=1)[0].split())
