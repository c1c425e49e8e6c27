"""Import statements that name asyncio, made to name pyasync: how suites written for asyncio are run with `import pyasync as asyncio`."""
import ast


class Renamed(ast.NodeTransformer):
    """Import statements that name asyncio name pyasync."""

    def visit_Import(self, node):
        found = []
        for alias in node.names:
            package, _, rest = alias.name.partition(".")
            if package != "asyncio":
                found.append(alias)
            elif not rest:
                found.append(ast.alias("pyasync", alias.asname or "asyncio"))
            elif alias.asname:
                found.append(ast.alias("pyasync." + rest, alias.asname))
            else:
                found += [ast.alias("pyasync", "asyncio"), ast.alias("pyasync." + rest)]
        return ast.copy_location(ast.Import(found), node)

    def visit_ImportFrom(self, node):
        if node.level == 0 and node.module.partition(".")[0] == "asyncio":
            node.module = "pyasync" + node.module.removeprefix("asyncio")
        return node


def rename_in_file(path):
    """Changes the statements in place; all else, line numbers too, stays as it is."""
    data = path.read_bytes()
    if b"asyncio" not in data:
        return
    lines = data.split(b"\n")
    statements = [node for node in ast.walk(ast.parse(data)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    for node in sorted(statements, key=lambda node: (node.lineno, node.col_offset), reverse=True):
        before = ast.unparse(node)
        after = ast.unparse(Renamed().visit(node))
        if after != before:
            first, last = node.lineno - 1, node.end_lineno - 1
            head, tail = lines[first][:node.col_offset], lines[last][node.end_col_offset:]
            lines[first:last + 1] = [head + after.encode() + tail] + [b""] * (last - first)
    path.write_bytes(b"\n".join(lines))
