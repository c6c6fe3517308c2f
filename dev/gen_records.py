"""Writes ``src/zabra/wire/records_*.py`` from ``schema.jute``. Run it after changing the schema.

``python dev/gen_records.py [--check]``: with ``--check`` nothing is written, and the exit code says whether all is current.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

WIRE = Path(__file__).parent.parent / "src" / "zabra" / "wire"
FIXED = {"int": ("i", "int"), "long": ("q", "int"), "bool": ("?", "bool")}
PYTHON = {"buffer": "bytes | None", "ustring": "str | None", "path": "bytes | None", "acl": "Acl | None"}
READ = {"buffer": "r.read_buffer()", "ustring": "r.read_text()", "path": "r.read_path()", "acl": "decode_acl(r)"}
PACK = {"buffer": "pack_buffer", "ustring": "pack_text", "path": "pack_path", "acl": "encode_acl"}
IMPORTS = {"data": (), "proto": ("ClientInfo",), "txn": (), "quorum": ("Id",)}

ACL_CODE = '''
#: One entry of an ACL: permission bits, scheme, id.
AclEntry = tuple[int, str, str]
Acl = tuple[AclEntry, ...]
#: What a connection has proven: scheme, id.
Identity = tuple[str, str]


def decode_acl(r: Reader) -> Acl | None:
    """A vector of ACL entries; null strings become empty ones, which no scheme accepts."""
    return r.read_vector(lambda: (r.read_int(), r.read_text() or "", r.read_text() or ""))


def encode_acl(acl: Acl | None) -> bytes:
    """A vector of ACL entries."""
    if acl is None:
        return pack_vector(None)
    return pack_vector([_pack_int(perms) + pack_text(scheme) + pack_text(id_) for perms, scheme, id_ in acl])
'''


def parse(text: str) -> dict[str, list[tuple[str, list[tuple[str, str]]]]]:
    """The schema as module -> [(record, [(type, field)])]."""
    modules: dict[str, list[tuple[str, list[tuple[str, str]]]]] = {}
    records: list[tuple[str, list[tuple[str, str]]]] = []
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if not line:
            continue
        name, _, rest = line.partition(" ")
        if name == "module":
            records = modules[rest.strip()] = []
            continue
        fields = [tuple(field.split()) for field in rest.split(",")]
        records.append((name, [(kind, field) for kind, field in fields]))
    return modules


def annotation(kind: str) -> str:
    """The Python type of a field."""
    if kind in FIXED:
        return FIXED[kind][1]
    if kind in PYTHON:
        return PYTHON[kind]
    inner = re.fullmatch(r"vector<(\w+)>", kind)
    if inner is None:
        return kind
    element = annotation(inner[1])
    return f"tuple[{element}, ...] | None"


def reader(kind: str) -> str:
    """The expression that reads a field."""
    if kind in READ:
        return READ[kind]
    inner = re.fullmatch(r"vector<(\w+)>", kind)
    if inner is None:
        return f"{kind}.decode(r)"
    if inner[1] in READ:
        return f"r.read_vector({READ[inner[1]].removesuffix('()')})"
    return f"r.read_vector(lambda: {inner[1]}.decode(r))"


def packer(kind: str, field: str) -> str:
    """The expression that encodes a field."""
    if kind in PACK:
        return f"{PACK[kind]}(self.{field})"
    inner = re.fullmatch(r"vector<(\w+)>", kind)
    if inner is None:
        return f"self.{field}.encode()"
    element = f"{PACK[inner[1]]}(item)" if inner[1] in PACK else "item.encode()"
    return f"pack_vector(None if self.{field} is None else [{element} for item in self.{field}])"


def runs(fields: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Fields in order, adjacent fixed-width ones together: those are one struct."""
    groups: list[list[tuple[str, str]]] = []
    for kind, field in fields:
        if kind in FIXED and groups and groups[-1][0][0] in FIXED:
            groups[-1].append((kind, field))
        else:
            groups.append([(kind, field)])
    return groups


def layout_name(group: list[tuple[str, str]]) -> str:
    """The constant that holds a run's struct."""
    return "_" + "".join(FIXED[kind][0] for kind, _ in group).replace("?", "B").upper()


def record_code(name: str, fields: list[tuple[str, str]]) -> list[str]:
    """The class of one record."""
    lines = ["", "", f"class {name}(NamedTuple):", f'    """{", ".join(f"{kind} {field}" for kind, field in fields)}."""', ""]
    if len(lines[3]) > 120:
        lines[3] = f'    """{len(fields)} fields, {fields[0][1]} to {fields[-1][1]}."""'
    lines += [f"    {field}: {annotation(kind)}" for kind, field in fields]
    encode: list[str] = []
    decode: list[str] = []
    for group in runs(fields):
        if group[0][0] in FIXED:
            names = ", ".join(field for _, field in group)
            encode.append(f"{layout_name(group)}.pack({', '.join(f'self.{field}' for _, field in group)})")
            decode.append(f"{names}{',' if len(group) == 1 else ''} = r.read_struct({layout_name(group)})")
        else:
            kind, field = group[0]
            encode.append(packer(kind, field))
            decode.append(f"{field} = {reader(kind)}")
    bools = {field for kind, field in fields if kind == "bool"}
    made = ", ".join(f"bool({field})" if field in bools else field for _, field in fields)
    lines += ["", "    def encode(self) -> bytes:", '        """The record\'s bytes."""']
    if len(encode) == 1:
        lines.append(f"        return {encode[0]}")
    else:
        lines += ["        return b\"\".join(", "            ("]
        lines += [f"                {part}," for part in encode]
        lines += ["            )", "        )"]
    lines += ["", "    @classmethod", "    def decode(cls, r: Reader) -> Self:", '        """Raises MarshallingError."""']
    lines += [f"        {part}" for part in decode]
    lines.append(f"        return cls({made})")
    return lines


def module_code(module: str, records: list[tuple[str, list[tuple[str, str]]]]) -> str:
    """One generated file."""
    body: list[str] = []
    layouts: dict[str, str] = {}
    for name, fields in records:
        body += record_code(name, fields)
        for group in runs(fields):
            if group[0][0] in FIXED:
                layouts[layout_name(group)] = "".join(FIXED[kind][0] for kind, _ in group)
    text = "\n".join(body)
    if module == "data":
        text = ACL_CODE.rstrip() + "\n" + text
        layouts["_I"] = "i"
    used = [name for name in ("Reader", "pack_buffer", "pack_path", "pack_text", "pack_vector") if re.search(rf"\b{name}\b", text)]
    from_data = [name for name in ("Acl", "decode_acl", "encode_acl", *IMPORTS[module]) if re.search(rf"\b{name}\b", text)]
    head = [
        f'"""Records of module {module}. Generated from schema.jute by dev/gen_records.py; do not edit."""',
        "",
        "from __future__ import annotations",
        "",
    ]
    if layouts:
        head.append("from struct import Struct")
    head += ["from typing import Final, NamedTuple, Self" if layouts else "from typing import NamedTuple, Self", ""]
    head.append(f"from zabra.wire.primitives import {', '.join(used)}")
    if module != "data" and from_data:
        head.append(f"from zabra.wire.records_data import {', '.join(sorted(from_data, key=lambda n: (not n[0].isupper(), n)))}")
    head.append("")
    head += [f'{name}: Final = Struct(">{layout}")' for name, layout in sorted(layouts.items())]
    if module == "data":
        head.append("_pack_int = _I.pack")
    return "\n".join(head).rstrip() + ("\n" if module == "data" else "") + text + "\n"


def main() -> int:
    """Write the files, or compare them."""
    stale = False
    for module, records in parse((WIRE / "schema.jute").read_text()).items():
        path = WIRE / f"records_{module}.py"
        code = module_code(module, records)
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text() != code:
                print(f"{path.name} is not what schema.jute says: run dev/gen_records.py")
                stale = True
        else:
            path.write_text(code)
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
