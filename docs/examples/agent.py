#!/usr/bin/env python3
"""An agent's side of Bailiwick, in one file: exchange the task's token, then call one tool.

It knows only what the standards say: RFC 9728 and RFC 8414 to find its way, RFC 7523 to say who it is, RFC 9449 to
prove its key, RFC 8693 to get a token, MCP 2026-07-28 to call. It needs Python 3.9 and the package `cryptography`.

    agent.py --agent support-bot.json --key support-bot.pem --token task.token \\
             --endpoint http://127.0.0.1:8181/mcp/support-desk  get_order '{"order_id": "A-1001"}'

Exit status: 0 the tool answered, 3 the call was refused, 8 it waits for a person, 1 something else went wrong.
"""

import argparse
import base64
import hashlib
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

MCP = "2026-07-28"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


class Key:
    """An Ed25519 key that signs JWTs."""

    def __init__(self, file):
        with open(file, "rb") as pem:
            self.private = load_pem_private_key(pem.read(), password=None)
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64(raw)}  # in the order that RFC 7638 hashes
        self.kid = b64(hashlib.sha256(compact(self.jwk)).digest())

    def sign(self, header, claims):
        text = b64(compact({"alg": "EdDSA", **header})) + "." + b64(compact(claims))
        return text + "." + b64(self.private.sign(text.encode()))


class Wire:
    """Requests with proofs of possession. Each server's nonce goes into the next proof for it."""

    def __init__(self, key):
        self.key = key
        self.nonces = {}

    def get(self, url):
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            sys.exit(f"{url} answers {error.code}: {error.read().decode(errors='replace')}")

    def send(self, method, url, body, headers, token=None):
        """`body` is a function: an assertion is good for one request, so each try makes its own."""
        status, answer, text = self._once(method, url, body(), headers, token)
        if status in (400, 401) and "use_dpop_nonce" in text + (answer.get("WWW-Authenticate") or ""):
            status, answer, text = self._once(method, url, body(), headers, token)
        return status, answer, text

    def _once(self, method, url, body, headers, token):
        place = urllib.parse.urlsplit(url).netloc
        claims = {"jti": str(uuid.uuid4()), "htm": method, "htu": url.split("?")[0], "iat": int(time.time())}
        if place in self.nonces:
            claims["nonce"] = self.nonces[place]
        if token:
            claims["ath"] = b64(hashlib.sha256(token.encode()).digest())
            headers = {**headers, "Authorization": "DPoP " + token}
        proof = self.key.sign({"typ": "dpop+jwt", "jwk": self.key.jwk}, claims)
        request = urllib.request.Request(url, data=body, headers={**headers, "DPoP": proof}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=150) as answer:
                status, headers, text = answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, headers, text = error.code, error.headers, error.read().decode()
        if headers.get("DPoP-Nonce"):
            self.nonces[place] = headers["DPoP-Nonce"]
        return status, headers, text


def assertion(key, who, issuer, **more):
    """Who somebody is, by their own signature (RFC 7523)."""
    now = int(time.time())
    claims = {"iss": who, "sub": who, "aud": issuer, "iat": now, "exp": now + 60, "jti": str(uuid.uuid4()), **more}
    return key.sign({"typ": "client-authentication+jwt", "kid": key.kid}, claims)


def find_token_endpoint(wire, endpoint):
    """From the gateway's address to its authorization server."""
    gateway, path = endpoint.rsplit("/mcp/", 1)
    resource = wire.get(f"{gateway}/.well-known/oauth-protected-resource/mcp/{path}")
    issuer = resource["authorization_servers"][0]
    server = wire.get(f"{issuer}/.well-known/oauth-authorization-server")
    if server["issuer"] != issuer or resource["resource"] != endpoint:
        sys.exit("the metadata is somebody else's")
    return issuer, server["token_endpoint"]


def exchange(wire, agent, subject_token, endpoint):
    """The task's token in, a token of one's own for one server out."""
    issuer, token_endpoint = find_token_endpoint(wire, endpoint)

    def form():
        return urllib.parse.urlencode(
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": assertion(wire.key, agent["uri"], issuer, version=agent["version"]["digest"]),
                "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "subject_token": subject_token,
                "audience": endpoint,
            }
        ).encode()

    status, _, text = wire.send("POST", token_endpoint, form, FORM)
    if status != 200:
        print(f"no token: {refused(text)}", file=sys.stderr)
        sys.exit(3)
    return json.loads(text)["access_token"]


def refused(text):
    """What a refusal of the token endpoint says (RFC 6749), or whatever else came."""
    try:
        answer = json.loads(text)
        return f"{answer['error']}: {answer.get('error_description', '')}"
    except (ValueError, KeyError, TypeError):
        return text


def call(wire, token, endpoint, tool, arguments):
    request = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": tool,
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": MCP,
                "io.modelcontextprotocol/clientInfo": {"name": "agent.py", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MCP,
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    _, answer, text = wire.send("POST", endpoint, lambda: compact(request), headers, token)
    if (answer.get("Content-Type") or "").startswith("text/event-stream"):
        # Progress comes first, the answer last.
        text = [line[5:] for line in text.splitlines() if line.startswith("data:") and line[5:].strip()][-1]
    try:
        return answer.get("Bailiwick-Action"), json.loads(text)
    except ValueError:
        sys.exit(f"no answer: {text}")


def main():
    options = argparse.ArgumentParser(description="Call one tool through Bailiwick.")
    options.add_argument("--agent", required=True, help="what `bailiwick agent show NAME -o json` printed")
    options.add_argument("--key", required=True, help="the agent's private key")
    options.add_argument("--token", required=True, help="the file that `bailiwick task open --token-file` wrote")
    options.add_argument("--endpoint", required=True, help="the gateway's URL for the server")
    options.add_argument("tool")
    options.add_argument("arguments", type=json.loads, help="the tool's arguments as JSON")
    wish = options.parse_args()
    with open(wish.agent) as file:
        agent = json.load(file)
    with open(wish.token) as file:
        subject_token = file.read().strip()
    wire = Wire(Key(wish.key))
    token = exchange(wire, agent, subject_token, wish.endpoint)
    action, answer = call(wire, token, wish.endpoint, wish.tool, wish.arguments)
    if "error" in answer:
        sys.exit(f"error {answer['error']['code']}: {answer['error']['message']}")
    result = answer["result"]
    refusal = result.get("_meta", {}).get("bailiwick/refusal")
    if refusal:
        print(result["content"][0]["text"])
        sys.exit(8 if refusal["verdict"] == "hold" else 3)
    print(json.dumps(result.get("structuredContent", result["content"]), indent=2))
    print(f"action {action}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, KeyError) as error:  # no such file, nobody there, not what was expected
        sys.exit(f"{type(error).__name__}: {error}")
