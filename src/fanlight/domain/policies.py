"""What an access key may do: IAM's JSON policies, as far as their meaning here is theirs exactly.

Deny wins, and what nothing allows is denied. Whatever would mean less or more here than in AWS (conditions, principals,
variables, NotResource) is refused when the policy is given, never ignored.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from fanlight.domain.errors import DomainError

LONGEST_POLICY = 6144  # characters; IAM's size of a managed policy
VERSIONS = ("2012-10-17", "2008-10-17")
ANYTHING = "*"
_ARN_PARTS = 6
_ACTION = re.compile(r"\*|[a-z0-9-]+:[A-Za-z0-9*?]+")
_SID = re.compile(r"[A-Za-z0-9 ]*")
_STATEMENT = ("Sid", "Effect", "Action", "NotAction", "Resource")
_WHY = {
    "Condition": "conditions are not evaluated",
    "Principal": "a policy of a key has the key as its principal",
    "NotPrincipal": "a policy of a key has the key as its principal",
    "NotResource": "it is not evaluated; name the resources, or deny some in a statement of their own",
}


class InvalidPolicy(DomainError):
    """The policy cannot be taken. The text says where and why."""


class Effect(Enum):
    ALLOW = "Allow"
    DENY = "Deny"


class Verdict(Enum):
    ALLOWED = "allowed"
    NOT_ALLOWED = "not allowed"  # nothing allows it
    DENIED = "denied"  # a statement denies it


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    effect: Effect
    actions: tuple[str, ...]
    is_not_action: bool = False
    """The statement is about all actions but these."""
    resources: tuple[str, ...]

    def covers(self, action: str, resource: str) -> bool:
        # Names of actions have no case; names of resources do.
        named = any(matches_wildcards(pattern.lower(), action.lower()) for pattern in self.actions)
        return named is not self.is_not_action and any(_matches(pattern, resource) for pattern in self.resources)


@dataclass(frozen=True, slots=True)
class Policy:
    """`document` is the JSON that it was read from."""

    statements: tuple[Statement, ...]
    document: str

    def judge(self, action: str, resource: str) -> Verdict:
        """Return what holds for an action (`appstream:CreateFleet`) on one resource (an ARN, or * for none)."""
        effects = {statement.effect for statement in self.statements if statement.covers(action, resource)}
        if Effect.DENY in effects:
            return Verdict.DENIED
        return Verdict.ALLOWED if Effect.ALLOW in effects else Verdict.NOT_ALLOWED


READ_ONLY_VERBS = ("Describe", "Get", "List")
READ_ONLY_SERVICES = ("application-autoscaling", "appstream", "cloudwatch", "ec2", "sts", "tag", "nimble")


def read_only_policy() -> "Policy":
    """Return the policy that lets everything be seen and nothing be done. A streaming URL is a deed: it opens a session."""
    actions = [f"{service}:{verb}*" for service in READ_ONLY_SERVICES for verb in READ_ONLY_VERBS]
    statement = {"Sid": "ReadOnly", "Effect": "Allow", "Action": actions, "Resource": ANYTHING}
    # It shows the URL of a stream that somebody made for another.
    deed = {"Sid": "NoUrls", "Effect": "Deny", "Action": "nimble:GetStreamingSessionStream", "Resource": ANYTHING}
    return parse_policy(json.dumps({"Version": VERSIONS[0], "Statement": [statement, deed]}))


@lru_cache(maxsize=256)
def parse_policy(document: str) -> Policy:
    """Return the policy that a JSON document spells. Raises InvalidPolicy."""
    if len(document) > LONGEST_POLICY:
        raise InvalidPolicy(f"The policy has {len(document)} characters; at most {LONGEST_POLICY} are allowed.")
    try:
        tree = json.loads(document, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InvalidPolicy(f"The policy is not valid JSON: {error}") from None
    if not isinstance(tree, dict):
        raise InvalidPolicy("The policy is not a JSON object.")
    _check_elements(tree, ("Version", "Id", "Statement"), "the policy")
    if tree.get("Version") not in VERSIONS:
        raise InvalidPolicy(f'The policy needs "Version": "{VERSIONS[0]}".')
    given = tree.get("Statement")
    statements = given if isinstance(given, list) else [given]
    if not given:
        raise InvalidPolicy("The policy has no Statement.")
    return Policy(tuple(_statement(entry, at) for at, entry in enumerate(statements, 1)), document)


def _statement(entry: Any, position: int) -> Statement:
    where = f"statement {position}"
    if not isinstance(entry, dict):
        raise InvalidPolicy(f"{where.capitalize()} is not a JSON object.")
    _check_elements(entry, _STATEMENT, where)
    sid = entry.get("Sid", "")
    if not isinstance(sid, str) or not _SID.fullmatch(sid):
        raise InvalidPolicy(f"The Sid of {where} may have letters and digits only.")
    if entry.get("Effect") not in {effect.value for effect in Effect}:
        raise InvalidPolicy(f'The Effect of {where} must be "Allow" or "Deny".')
    if ("Action" in entry) is ("NotAction" in entry):
        raise InvalidPolicy(f"{where.capitalize()} must have one of Action and NotAction.")
    element = "Action" if "Action" in entry else "NotAction"
    return Statement(
        effect=Effect(entry["Effect"]),
        actions=_texts(entry, element, where, _check_action),
        is_not_action=element == "NotAction",
        resources=_texts(entry, "Resource", where, _check_resource),
    )


def _check_elements(tree: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for name in tree:
        if name not in known:
            why = _WHY.get(name, f"only {', '.join(known)} are known there")
            raise InvalidPolicy(f"{name[:40]} in {where} is not supported: {why}.")


def _texts(entry: Mapping[str, Any], element: str, where: str, check: Any) -> tuple[str, ...]:
    given = entry.get(element)
    texts = given if isinstance(given, list) else [given]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidPolicy(f"The {element} of {where} must be a text or a list of texts.")
    for text in texts:
        check(text, f"the {element} of {where}")
    return tuple(texts)


def _check_action(text: str, where: str) -> None:
    if not _ACTION.fullmatch(text):
        raise InvalidPolicy(f"'{text[:80]}' in {where} is not an action like appstream:DescribeFleets or appstream:*.")


def _check_resource(text: str, where: str) -> None:
    if "${" in text:
        raise InvalidPolicy(f"'{text[:80]}' in {where} has a policy variable; variables are not evaluated.")
    parts = text.split(":", _ARN_PARTS - 1)
    if text != ANYTHING and (len(parts) != _ARN_PARTS or parts[0] != "arn"):
        raise InvalidPolicy(
            f"'{text[:80]}' in {where} is neither * nor an ARN like arn:aws:appstream:us-east-1:000000000000:fleet/cad."
        )


def _matches(pattern: str, resource: str) -> bool:
    """Compare part by part: a wildcard never reaches over a colon, but in the last part, the name."""
    if pattern == ANYTHING:
        return True
    patterns, parts = pattern.split(":", _ARN_PARTS - 1), resource.split(":", _ARN_PARTS - 1)
    return len(parts) == _ARN_PARTS and all(
        matches_wildcards(one, part) for one, part in zip(patterns, parts, strict=True)
    )


def matches_wildcards(pattern: str, text: str) -> bool:
    """Return whether `text` is what `pattern` (* any characters, ? one) spells; takes no longer than their product.

    A regular expression of many wildcards would take time beyond all measure for some texts.
    """
    at, here, star, resume = 0, 0, -1, 0
    while here < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume, at = at, here, at + 1
        elif at < len(pattern) and pattern[at] in ("?", text[here]):
            at, here = at + 1, here + 1
        elif star >= 0:
            resume += 1
            at, here = star + 1, resume
        else:
            return False
    return pattern[at:].strip("*") == ""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found
