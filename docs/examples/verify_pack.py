#!/usr/bin/env python3
"""Checks an exported pack without Bailiwick: the head's signature, and that the entries are the ones that were signed.

Formats: C2SP signed-note, tlog-checkpoint and tlog-tiles, RFC 6962. It needs Python 3.9 and the package `cryptography`.

    verify_pack.py pack "acme.example/prod/1+e4ef4428+Af7u..."

Exit status: 0 it is what was signed, 1 it is not, or it cannot be checked.
"""

import base64
import hashlib
import pathlib
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def sha256(data):
    return hashlib.sha256(data).digest()


def signed_head(note, line):
    """Size and root of a checkpoint that this key signed (C2SP signed-note)."""
    name, key_id, key = line.split("+", 2)
    key = base64.b64decode(key)
    if key[0] != 1 or sha256(name.encode() + b"\n" + key)[:4].hex() != key_id:
        raise ValueError("this is no line of an Ed25519 key")
    text, signatures = note.split("\n\n")
    for signature in signatures.splitlines():
        dash, signer, blob = signature.split(" ")
        blob = base64.b64decode(blob)
        if (dash, signer, blob[:4].hex()) == ("\u2014", name, key_id):
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(blob[4:], (text + "\n").encode())
            origin, size, root = text.split("\n")[:3]
            check(origin == name, "it is the head of another log")
            return int(size), base64.b64decode(root)
    sys.exit("NOT VERIFIED: nobody has signed this head with this key")


def entries(pack, size):
    """All entries, bundle by bundle (C2SP tlog-tiles)."""
    for bundle in range((size + 255) // 256):
        width = min(256, size - bundle * 256)
        digits = f"{bundle:03d}" if bundle < 1000 else f"x{bundle // 1000:03d}/{bundle % 1000:03d}"
        path = pack / "tile/entries" / (digits if width == 256 else f"{digits}.p/{width}")
        data = path.read_bytes()
        for _ in range(width):
            length = int.from_bytes(data[:2], "big")
            yield data[2 : 2 + length]
            data = data[2 + length :]
        check(not data, f"{path} holds more than it should")


def root_of(leaves):
    """The Merkle tree hash of RFC 6962."""
    peaks = []  # complete subtrees, the largest first: (leaves, hash)
    for leaf in leaves:
        peaks.append((1, sha256(b"\0" + leaf)))
        while len(peaks) > 1 and peaks[-1][0] == peaks[-2][0]:
            (_, right), (count, left) = peaks.pop(), peaks.pop()
            peaks.append((2 * count, sha256(b"\1" + left + right)))
    root = peaks.pop()[1] if peaks else sha256(b"")
    while peaks:
        root = sha256(b"\1" + peaks.pop()[1] + root)
    return root


def check(condition, what):
    """Not `assert`, which `python -O` leaves out."""
    if not condition:
        sys.exit(f"NOT VERIFIED: {what}")


def main(pack, key):
    size, root = signed_head((pack / "checkpoint").read_text(), key.strip())
    check(root_of(entries(pack, size)) == root, "the entries are not the ones that were signed")
    print(f"{size} entries are the ones that were signed; root {root.hex()}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(pathlib.Path(sys.argv[1]), sys.argv[2])
    except InvalidSignature:
        sys.exit("NOT VERIFIED: the head is not signed with this key")
    except (OSError, ValueError, IndexError) as error:  # no such file, or not of the form
        sys.exit(f"cannot be checked: {type(error).__name__}: {error}")
