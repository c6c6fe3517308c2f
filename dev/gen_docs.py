"""Write ``docs/configuration.md`` from the property table.

python dev/gen_docs.py            write the file
python dev/gen_docs.py --check    only say whether it differs, exit code 1 if it does
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from zabra.config.properties import Property, all_properties  # noqa: E402  (the path above comes first)

PAGE = ROOT / "docs" / "configuration.md"
SCOPES = {
    "server": "Server",
    "metrics": "Metrics",
    "admin": "Admin server",
    "quorum": "Ensembles",
    "tls": "TLS",
    "sasl": "SASL and Kerberos",
    "tool": "Logging set-up and tools",
    "client": "Read by clients only",
}
INTRODUCTION = """\
# Configuration

Written by `dev/gen_docs.py` from `src/zabra/config/properties.tsv`; edit the table, not this page.

Zabra reads Apache ZooKeeper's `zoo.cfg` as it is, in the format of `java.util.Properties` (`#` and `!` comments, a
backslash at the end of a line continues it, ISO-8859-1). Every property below can be set in three places:

- in `zoo.cfg` by its key: `snapCount=50000`;
- on the command line with `-D` and the system property: `zabra server -Dzookeeper.snapCount=50000 zoo.cfg`. Keys
  without a system property take `-DtickTime=2000` or `-Dzookeeper.tickTime=2000`;
- in the environment, as `ZOOKEEPER_` and the key in upper case with every other character as `_`:
  `ZOOKEEPER_SNAPCOUNT=50000`, `ZOOKEEPER_AUTOPURGE_PURGEINTERVAL=1`; or as `-D` flags in `SERVER_JVMFLAGS` and
  `JVMFLAGS`, which count as `-D` on the command line, as with `zkServer.sh`.

When several set the same property:

- Keys that have both a key and a system property: `zoo.cfg` wins, then `-D`, then the environment. So it is in Apache
  ZooKeeper, whose parser overwrites the system property; a warning names what was overridden. (The few such keys that
  Apache's parser keeps to itself, like `syncEnabled`, follow the next rule.)
- All others: `-D` wins, then the environment, then `zoo.cfg`.

A bad value stops the start with exit code 2 and a line such as
`zoo.cfg:3: tickTime=abc: expected a whole number of ms, 1 or more`. An unknown key warns, and becomes the system
property `zookeeper.<key>` as in Apache. Properties of features that are not there yet are named in one warning line.
Apache ignores some properties where it does not look for them (`jute.maxbuffer` in `zoo.cfg`); here they count.

Without a configuration `zabra server` serves on 127.0.0.1:2181 and keeps its data in `$XDG_DATA_HOME/zabra/data`
(`~/.local/share/zabra/data`). `zabra server port datadir [ticktime] [maxcnxns]` works as `ZooKeeperServerMain` does.

| what Zabra adds | meaning |
|---|---|
| `--name`, `--log-level`, `--log-format` | name in log lines; `debug`, `info`, `warning`, `error`; `text` or `json` |
| `ZABRA_LOG_LEVEL`, `ZABRA_LOG_FORMAT` | the same from the environment |
| `ZABRA_LOOP` | event loop: `uvloop` or `asyncio`; unset takes uvloop where it is installed |
| `authProvider.N=module:class` | an authentication scheme of your own, loaded from the Python path |

A server becomes the member of an ensemble by `server.N` lines for at least two participants (or for one, with
`standaloneEnabled=false`), in `zoo.cfg` or in its `dynamicConfigFile`, whose name ends in the version. It needs
`<dataDir>/myid` with its own N, `initLimit` and `syncLimit`. Its own line may name the client port, instead of
`clientPort` or equal to it. Whatever is missing or contradicts is named with its file, and nothing is started:
`/data/myid: 4: expected the id of a server in /etc/zoo.cfg, one of 1, 2, 3`. With `reconfigEnabled=true` the server
writes the membership into files beside `zoo.cfg`, and `zoo.cfg` itself, as Apache ZooKeeper does; `zoo.cfg.bak` is the
file as you wrote it.

Exit codes: 0 stopped by a signal, 1 unexpected error or failed disk, 2 bad invocation or configuration, 3 the data
folder cannot be used, 12 and 13 what the leader sends does not fit the history here, 14 no election port is free.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for scope, title in SCOPES.items():
        rows = [row for row in all_properties() if row.scope == scope]
        parts.append(f"\n## {title}\n\n| property | default | value | meaning |\n|---|---|---|---|\n")
        parts.extend(line(row) for row in rows)
    return "".join(parts)


def line(row: Property) -> str:
    """One line of a table."""
    name = f"`{row.key or '-D' + row.system_property}`"
    if row.key and row.system_property and row.system_property != "zookeeper." + row.key:
        name += f" (`-D{row.system_property}`)"
    state = "" if row.status == "obeyed" else f" *{row.status[0].upper()}{row.status[1:]}.*"
    cells = (name, row.default, value_words(row), row.meaning + state)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def value_words(row: Property) -> str:
    """What a value looks like, for people."""
    kind, _, bounds = row.type.partition(" ")
    if kind == "bool":
        return "true or false"
    if kind in ("int", "long", "float"):
        unit = "" if row.unit in ("number", "integer", "decimal") else f"{row.unit} "
        return f"{unit}{bounds}".strip() or "number"
    if kind == "text" or row.type == "server line":
        return row.unit
    return row.type.replace("|", " or ").strip() if "|" in row.type else row.type


def main() -> int:
    """Write or check."""
    text = page()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text("utf-8") != text:
            print(f"{PAGE.relative_to(ROOT)} differs from the property table: run python dev/gen_docs.py")
            return 1
        return 0
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
