"""Policies of access keys: what they allow, deny and leave out, and what is no policy at all."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlight.domain.policies import (
    InvalidPolicy,
    Policy,
    Verdict,
    matches_wildcards,
    parse_policy,
    read_only_policy,
)

CAD = "arn:aws:appstream:us-east-1:000000000000:fleet/cad"
FILM = "arn:aws:appstream:us-east-1:000000000000:fleet/film"


def policy(*statements: dict[str, Any], **elements: Any) -> Policy:
    return parse_policy(json.dumps({"Version": "2012-10-17", "Statement": list(statements), **elements}))


def allow(actions: Any, resources: Any = "*", **elements: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources, **elements}


def deny(actions: Any, resources: Any = "*") -> dict[str, Any]:
    return {"Effect": "Deny", "Action": actions, "Resource": resources}


@pytest.mark.parametrize(
    ("statements", "action", "resource", "verdict"),
    [
        ([allow("*")], "appstream:StopFleet", CAD, Verdict.ALLOWED),
        ([allow("appstream:*")], "appstream:StopFleet", CAD, Verdict.ALLOWED),
        ([allow("appstream:*")], "tag:GetResources", "*", Verdict.NOT_ALLOWED),
        ([allow("APPSTREAM:stopfleet".replace("APPSTREAM", "appstream"))], "appstream:StopFleet", CAD, Verdict.ALLOWED),
        ([allow(["appstream:Start*", "appstream:Stop????t"])], "appstream:StopFleet", CAD, Verdict.ALLOWED),
        ([allow("appstream:Stop????t")], "appstream:StopFleets", CAD, Verdict.NOT_ALLOWED),
        ([allow("*", CAD)], "appstream:StopFleet", CAD, Verdict.ALLOWED),
        ([allow("*", CAD)], "appstream:StopFleet", FILM, Verdict.NOT_ALLOWED),
        ([allow("*", CAD)], "appstream:StopFleet", CAD.replace("cad", "Cad"), Verdict.NOT_ALLOWED),
        ([allow("*", CAD)], "appstream:ExpireSession", "*", Verdict.NOT_ALLOWED),
        ([allow("*", "arn:aws:appstream:*:*:fleet/*")], "appstream:DescribeFleets", CAD[:-3] + "*", Verdict.ALLOWED),
        ([allow("*", "arn:aws:appstream:*:*:fleet/c*")], "appstream:DescribeFleets", CAD[:-3] + "*", Verdict.NOT_ALLOWED),
        ([allow("*", "arn:aws:appstream:*:fleet/cad:x:y")], "appstream:StopFleet", CAD, Verdict.NOT_ALLOWED),
        ([allow("*", "arn:*:*:*:*:*")], "appstream:StopFleet", CAD, Verdict.ALLOWED),
        ([allow("*", "arn:aws:appstream:*::fleet/cad")], "appstream:StopFleet", CAD, Verdict.NOT_ALLOWED),
        ([allow("*"), deny("*", CAD)], "appstream:StopFleet", CAD, Verdict.DENIED),
        ([deny("*", CAD), allow("*")], "appstream:StopFleet", CAD, Verdict.DENIED),
        ([allow("*"), deny("*", CAD)], "appstream:StopFleet", FILM, Verdict.ALLOWED),
        ([deny("appstream:Stop*")], "appstream:StartFleet", CAD, Verdict.NOT_ALLOWED),
        ([{"Effect": "Allow", "NotAction": "appstream:Delete*", "Resource": "*"}], "appstream:StopFleet", CAD, Verdict.ALLOWED),
        ([{"Effect": "Allow", "NotAction": "appstream:Delete*", "Resource": "*"}], "appstream:DeleteFleet", CAD, Verdict.NOT_ALLOWED),
        ([allow("*"), {"Effect": "Deny", "NotAction": "appstream:*", "Resource": "*"}], "ec2:DescribeRegions", "*", Verdict.DENIED),
    ],
)  # fmt: skip
def test_a_policy_judges_as_iam_does(statements: Any, action: str, resource: str, verdict: Verdict) -> None:
    assert policy(*statements).judge(action, resource) is verdict


def test_the_read_only_policy_sees_everything_and_does_nothing() -> None:
    rights = read_only_policy()
    for action in ("DescribeFleets", "ListTagsForResource", "GetExportImageTask", "ListAssociatedStacks"):
        assert rights.judge(f"appstream:{action}", CAD) is Verdict.ALLOWED
    for action in ("CreateStreamingURL", "CreateImageBuilderStreamingURL", "StopFleet", "TagResource", "ExpireSession"):
        assert rights.judge(f"appstream:{action}", CAD) is Verdict.NOT_ALLOWED
    assert rights.judge("tag:GetResources", "*") is Verdict.ALLOWED
    assert rights.judge("tag:UntagResources", "*") is Verdict.NOT_ALLOWED


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("", "not valid JSON"),
        ("[" * 5000, "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"Version": "2012-10-17"}', "no Statement"),
        ('{"Version": "2012-10-17", "Statement": []}', "no Statement"),
        ('{"Version": "2012-10-17", "Statement": ["x"]}', "Statement 1 is not a JSON object"),
        ('{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}', 'needs "Version"'),
        ('{"Version": "2012-10-17", "Version": "2012-10-17"}', "twice"),
        ("x" * 6145, "at most 6144"),
    ],
)
def test_what_is_no_policy_is_refused(document: str, words: str) -> None:
    with pytest.raises(InvalidPolicy, match=words):
        parse_policy(document)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (allow("*", Condition={"Bool": {"aws:SecureTransport": "true"}}), "Condition in statement 1 is not supported"),
        (allow("*", Principal="*"), "Principal in statement 1"),
        ({"Effect": "Allow", "Action": "*", "NotResource": CAD}, "NotResource in statement 1"),
        (allow("*", Foo=1), "Foo in statement 1 is not supported: only Sid, Effect"),
        ({**allow("*"), "Effect": "allow"}, 'must be "Allow" or "Deny"'),
        ({**allow("*"), "NotAction": "*"}, "one of Action and NotAction"),
        ({"Effect": "Allow", "Resource": "*"}, "one of Action and NotAction"),
        ({"Effect": "Allow", "Action": "*"}, "Resource of statement 1"),
        (allow([]), "Action of statement 1"),
        (allow([1]), "Action of statement 1"),
        (allow("DescribeFleets"), "not an action"),
        (allow("appstream:Describe Fleets"), "not an action"),
        (allow("*", "fleet/cad"), "neither \\* nor an ARN"),
        (allow("*", "arn:aws:appstream:*:fleet/${aws:username}"), "policy variable"),
        (allow("*", Sid="a-b"), "Sid of statement 1"),
    ],
)  # fmt: skip
def test_an_element_that_would_not_mean_the_same_is_refused_by_name(statement: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidPolicy, match=words):
        policy(statement)
    with pytest.raises(InvalidPolicy, match="Foo in the policy"):
        policy(allow("*"), Foo=1)


def test_a_single_statement_needs_no_list_and_may_have_names() -> None:
    parsed = parse_policy(json.dumps({"Version": "2012-10-17", "Id": "x", "Statement": allow("*", Sid="All 1")}))
    assert parsed.judge("appstream:StopFleet", CAD) is Verdict.ALLOWED


def test_no_pattern_is_slow() -> None:
    started = time.thread_time()
    assert not matches_wildcards("*a" * 500 + "b", "a" * 1000)
    assert time.thread_time() - started < 2


@given(st.text("ab*?", max_size=6), st.text("ab", max_size=6))
def test_wildcards_match_as_a_definition_says(pattern: str, text: str) -> None:
    def by_definition(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return by_definition(pattern[1:], text) or bool(text and by_definition(pattern, text[1:]))
        return bool(text) and pattern[0] in ("?", text[0]) and by_definition(pattern[1:], text[1:])

    assert matches_wildcards(pattern, text) is by_definition(pattern, text)
