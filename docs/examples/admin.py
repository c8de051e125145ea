#!/usr/bin/env python3
"""One call of the admin API, without the command line: sign in with a person's own key, then ask.

    admin.py http://127.0.0.1:8180 olivia.pem spiffe://acme.example/prod/person/p7f1… GET /v1/agents
    admin.py … POST /v1/stops '{"scope": "agent:support-bot", "reason": "refunds look wrong"}'

It stands on `agent.py`, which lies beside it. Exit status: 0 done, 8 it waits for an approval, 1 refused.
"""

import json
import sys
import urllib.parse

from agent import FORM, Key, Wire, assertion, compact, refused


def main(server, key, person, method, path, body=None):
    wire = Wire(Key(key))

    def form():
        grant = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": assertion(wire.key, person, server),
        }
        return urllib.parse.urlencode(grant).encode()

    status, _, text = wire.send("POST", server + "/oauth/token", form, FORM)
    if status != 200:
        sys.exit(f"no session: {refused(text)}")
    token = json.loads(text)["access_token"]
    content = compact(json.loads(body)) if body else None
    headers = {"Content-Type": "application/json"} if body else {}
    status, _, text = wire.send(method, server + path, lambda: content, headers, token)
    print(status, text)
    if status >= 300:
        sys.exit(8 if '"code":"held"' in text else 1)


if __name__ == "__main__":
    if len(sys.argv) not in (6, 7):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (OSError, ValueError, KeyError) as error:  # no such file, nobody there, not what was expected
        sys.exit(f"{type(error).__name__}: {error}")
