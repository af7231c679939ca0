"""Python source as the digest sees it: without comments, layout, docstrings and annotations that nothing reads."""

import ast
import copy
import symtable

PLAIN_DECORATORS = frozenset(
    {
        *("abstractmethod", "cache", "cached_property", "classmethod", "contextmanager", "inference_mode", "lru_cache"),
        *("no_grad", "override", "property", "setter", "stage", "staticmethod", "wraps"),
    }
)
"""Decorators that never look at annotations. Others (validators, dispatchers) may: what they decorate keeps them."""

DECLARATIVE = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
    ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Pass, ast.Raise,
)  # fmt: skip


def parse(source: bytes, filename: str) -> tuple[ast.Module, symtable.SymbolTable]:
    """The tree of a module, with only what can change behaviour left in it, and its scopes. Raises SyntaxError."""
    tree = _Normaliser().visit(ast.parse(source, filename))
    return tree, symtable.symtable(source.decode("utf-8-sig"), filename, "exec")


def without_fields(statement: ast.ClassDef) -> ast.ClassDef:
    """A class without its annotated fields and its bases: what it does itself, not what it holds or inherits."""
    kept = [item for item in statement.body if not isinstance(item, ast.AnnAssign)]
    bare = copy.copy(statement)
    bare.body, bare.bases = kept, []
    return bare


def global_names(statement: ast.stmt, scopes: symtable.SymbolTable) -> set[str]:
    """Names that a module-level statement may read from, or write to, its module; `scopes` are the module's.

    Inside functions and classes by the compiler's own scope analysis, so that local names do not count.
    """
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    outside = [field for name, field in ast.iter_fields(statement) if name not in ("body", "name")]
    nodes = [node for field in outside for node in (field if isinstance(field, list) else [field])]
    found = {n.id for node in nodes if isinstance(node, ast.AST) for n in ast.walk(node) if isinstance(n, ast.Name)}
    first = min(node.lineno for node in (statement, *statement.decorator_list))
    tables = [
        table for table in scopes.get_children() if first <= table.get_lineno() <= (statement.end_lineno or first)
    ]
    while tables:
        table = tables.pop()
        in_function = table.get_type() == "function"  # in a class, a name may be read before it is bound there
        found |= {symbol.get_name() for symbol in table.get_symbols() if not in_function or symbol.is_global()}
        tables += table.get_children()
    return found


def dotted(node: ast.AST) -> list[str] | None:
    """["a", "b", "c"] for the expression `a.b.c`; None for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return None if inner is None else [*inner, node.attr]
    return None


def bound_names(statement: ast.stmt) -> set[str]:
    """Names that running `statement` at module level binds, but not those inside functions and classes it defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names if alias.name != "*"}
    found: set[str] = set()
    for node in ast.iter_child_nodes(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.ExceptHandler):
            found |= {name for inner in node.body for name in bound_names(inner)}
        elif isinstance(node, ast.stmt):
            found |= bound_names(node)
        elif isinstance(node, ast.expr | ast.withitem):
            found |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return found


def is_plain(decorator: ast.expr) -> bool:
    """Whether a decorator is known never to look at annotations."""
    chain = dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
    return chain is not None and chain[-1] in PLAIN_DECORATORS


def declares_only(statement: ast.stmt) -> bool:
    """Whether running the statement does nothing but bind names."""
    if isinstance(statement, ast.ClassDef):
        return all(declares_only(inner) for inner in statement.body)
    if isinstance(statement, ast.If | ast.Try):
        blocks = [statement.body, statement.orelse]
        if isinstance(statement, ast.Try):
            blocks += [statement.finalbody, *(handler.body for handler in statement.handlers)]
        inner = [item for block in blocks for item in block]
        decorated = any(isinstance(item, ast.ClassDef) or getattr(item, "decorator_list", None) for item in inner)
        return not decorated and all(declares_only(item) for item in inner)
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return all(_binds_names(target) for target in targets)
    return isinstance(statement, DECLARATIVE)


def _binds_names(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(_binds_names(element) for element in target.elts)
    if isinstance(target, ast.Starred):
        return _binds_names(target.value)
    return isinstance(target, ast.Name) and target.id != "_"  # what is assigned to _ is there for what it does


def never_runs(statement: ast.stmt) -> bool:
    """`if TYPE_CHECKING:` and `if __name__ == "__main__":` without an else: not run when a module is imported."""
    if not isinstance(statement, ast.If) or statement.orelse:
        return False
    chain = dotted(statement.test)
    if chain is not None:
        return chain[-1] == "TYPE_CHECKING"
    return isinstance(statement.test, ast.Compare) and dotted(statement.test.left) == ["__name__"]


class _Normaliser(ast.NodeTransformer):
    """Edits a tree in place: bare constants (docstrings) go, and annotations that cannot matter."""

    def __init__(self) -> None:
        self._scope: ast.AST | None = None

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.copy_location(ast.Constant(node.value), node)  # forgets the prefix of u"…"

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if isinstance(self._scope, ast.ClassDef):
            node.annotation = _unquoted(node.annotation)
        elif node.value is None:
            node.annotation = ast.Constant(None)  # the bare declaration still makes the name local
        else:
            return self.generic_visit(ast.copy_location(ast.Assign([node.target], node.value), node))
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._visit_scope(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._visit_function(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        keep = not all(is_plain(decorator) for decorator in node.decorator_list)
        node.returns = _unquoted(node.returns) if keep and node.returns else None
        arguments = node.args
        optional = (arguments.vararg, arguments.kwarg)
        named = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        for argument in (*named, *(a for a in optional if a is not None)):
            argument.annotation = _unquoted(argument.annotation) if keep and argument.annotation else None
        return self._visit_scope(node)

    def _visit_scope(self, node: ast.AST) -> ast.AST:
        outer, self._scope = self._scope, node
        try:
            return self.generic_visit(node)
        finally:
            self._scope = outer


def _unquoted(annotation: ast.expr) -> ast.expr:
    """A quoted annotation as the expression it holds, so that quoting it or not is the same."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return annotation
    return annotation
