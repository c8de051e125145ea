"""What the gateway says when it refuses."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

OnHold = Literal["pause", "tell"]
"""What becomes of a call that waits for a person: the framework's own way to pause a run, or words for the model."""

MEMBER = "bailiwick/refusal"

OPENINGS = {
    "hold": "This call waits for approval.",
    "step_up": "This call needs a stronger proof by the person.",
    "deny": "This call was refused.",
}
WAITING = frozenset({"hold", "step_up"})
CORRECTABLE = frozenset({"arguments_invalid", "mapping_failed"})


@dataclass(frozen=True)
class Refusal:
    """One refused call: words for the model, facts for the program. `docs/errors.md` lists the codes.

    Members that are not known are ignored. Facts that cannot be read are a refusal all the same: one that denies, with
    the code `unreadable`, and is not to be tried again.
    """

    words: str
    """What the model reads: what happened, why, and what to do next."""
    code: str
    verdict: str
    """`hold`, `step_up` or `deny`."""
    reason: str
    next: str
    retryable: bool
    """Whether the same call may succeed later without anybody changing anything."""
    action: str | None
    """The attempt, as the ledger names it."""
    approval: str | None
    """The request that a person answers: `bailiwick approve ID`."""
    policies: tuple[str, ...]

    @property
    def waits(self) -> bool:
        """Whether exactly this call may be made again once a person has answered."""
        return self.verdict in WAITING

    @property
    def correctable(self) -> bool:
        """Whether the model may get further with other arguments."""
        return self.code in CORRECTABLE

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it, for state that is stored."""
        return {**asdict(self), "policies": list(self.policies)}

    @classmethod
    def of(cls, answer: object) -> Refusal | None:
        """Reads an answer; `None` if it is no refusal of Bailiwick.

        An answer is a result or an error of the MCP SDK, 1.x or 2.x, or what JSON makes of one, with or without its
        JSON-RPC envelope.
        """
        for part in _parts(answer):
            for holder in (_member(part, "_meta", "meta"), _member(part, "data")):
                if isinstance(holder, Mapping) and MEMBER in holder:
                    return cls._read(holder[MEMBER], _text(part))
        return None

    @classmethod
    def _read(cls, facts: object, words: str) -> Refusal:
        known: Mapping[Any, Any] = facts if isinstance(facts, Mapping) else {}

        def text(name: str) -> str | None:
            value = known.get(name)
            return value if isinstance(value, str) and value else None

        code, verdict = text("code"), text("verdict")
        if code is None or verdict is None or verdict not in OPENINGS:
            code, verdict, known = "unreadable", "deny", {}
        reason, step = text("reason") or "no reason was given", text("next") or "Ask whoever runs the gateway."
        policies = known.get("policies")
        policies = policies if isinstance(policies, Sequence) and not isinstance(policies, str) else ()
        approval = text("approval")
        if not words:
            words = f"{OPENINGS[verdict]}\nWhy: {reason} ({code})\nNext: {step}"
            words += f"\nApproval: {approval}" if approval else ""
        return cls(
            words=words,
            code=code,
            verdict=verdict,
            reason=reason,
            next=step,
            retryable=known.get("retryable") is True,
            action=text("action"),
            approval=approval,
            policies=tuple(policy for policy in policies if isinstance(policy, str)),
        )


def no_tools(error: Exception) -> None:
    """Lets a run go on whose agent may use no tools any more, so that its model reads why; raises what is no refusal."""
    refusal = Refusal.of(error)
    if refusal is None:
        raise error
    logging.getLogger("bailiwick").warning("no tools are listed: %s", refusal.words)


def _parts(answer: object) -> list[object]:
    """The answer, and what its envelope or exception wraps."""
    return [answer, *(part for name in ("result", "error") if (part := _member(answer, name)) is not None)]


def _member(part: object, *names: str) -> object:
    for name in names:
        value = part.get(name) if isinstance(part, Mapping) else getattr(part, name, None)
        if value is not None:
            return value
    return None


def _text(part: object) -> str:
    """The words of a result, or the message of an error."""
    content = _member(part, "content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        texts = (_member(block, "text") for block in content)
        return "\n".join(text for text in texts if isinstance(text, str))
    message = _member(part, "message")
    return message if isinstance(message, str) else ""
