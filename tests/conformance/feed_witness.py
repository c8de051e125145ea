"""Gives heads of a log of its own to a witness, with the log and the client of others (PyPI `aics-tlog`, `aics-witness`).

    feed_witness.py URL WITNESS-KEY LOG-NAME < 32 bytes of the log's seed in hex

Prints one line of JSON: what each step ended with."""

import json
import sys

from aics_tlog import Checkpoint, MerkleTree, sign_checkpoint
from aics_witness.feeder import FeederError, WitnessClient
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def main():
    url, witness, name = sys.argv[1:]
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(sys.stdin.read()))
    stranger = Ed25519PrivateKey.generate()
    tree, fork = MerkleTree(), MerkleTree()
    for index in range(700):
        tree.append(b"entry %d" % index)
        fork.append(b"entry %d" % (index if index < 100 else -index))
    client = WitnessClient(url, witness, max_attempts=1)

    def submit(client, tree, size, key=key, name=name):
        note = sign_checkpoint(Checkpoint(name, size, tree.root(size)), key, name).serialise()
        try:
            client.submit(note, tree.consistency_proof)  # which checks what the witness has signed
            return "cosigned"
        except FeederError as error:
            return getattr(error, "status", None) or type(error).__name__

    def forgetful():
        return WitnessClient(url, witness, max_attempts=1)

    print(json.dumps({
        "first": submit(client, tree, 1),
        "grown": [submit(client, tree, size) for size in (2, 3, 255, 256, 257, 511)],
        "again": submit(client, tree, 511),
        "forgotten": submit(forgetful(), tree, 600),
        "behind": submit(forgetful(), tree, 300),
        "forked": submit(forgetful(), fork, 600),
        "forked_and_grown": submit(forgetful(), fork, 700),
        "unsigned": submit(forgetful(), tree, 700, key=stranger),
        "unknown": submit(forgetful(), tree, 700, name="somebody.else"),
        "last": submit(client, tree, 700),
    }))


main()
