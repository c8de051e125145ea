"""Audits a pack of the ledger with a program of others (PyPI `aics-tlog`): the head's signature, every tile, every entry, and
that the log begins with each head of another pack.

    audit_pack.py PACK LOG-KEY [OLDER-PACK]

Ends with status 0, or with 1 and the reason."""

import sys
from pathlib import Path

from aics_tlog import (
    FileSystemTileReader, audit_tiles, consistency_proof_from_tiles, parse_note, parse_vkey, verify_checkpoint,
    verify_consistency,
)


def head(pack, key):
    checked = verify_checkpoint(parse_note(Path(pack, "checkpoint").read_bytes()), parse_vkey(key))
    if not checked.ok:
        sys.exit(f"checkpoint: {checked.error}")
    return checked


def main():
    pack, key, *older = sys.argv[1:]
    reader, now = FileSystemTileReader(pack), head(pack, key)
    report = audit_tiles(reader, now.size, now.root)
    for before in (head(one, key) for one in older):
        proof = consistency_proof_from_tiles(reader, before.size, now.size)
        if not verify_consistency(before.size, now.size, before.root, now.root, proof):
            sys.exit("not a continuation of the older pack")
    print(report.size, report.tiles, report.bundles)


try:
    main()
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
