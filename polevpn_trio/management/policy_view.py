"""Explains what a router's policy does, and tells what it has done. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from polevpn_trio.control.advice import DENIED
from polevpn_trio.forwarding.policy.guard import PolicyGuard
from polevpn_trio.forwarding.policy.rules import Opening, Policy, Rule
from polevpn_trio.management.answers import (
    Alternative,
    Explanation,
    PolicyStatus,
    RuleStatus,
    Step,
)

NO_RULES = "the router has no rules: every site may send to every other"
THERE = "; the acls of the site's gateway decide there, explain it there as well"
QUESTION = "does the policy let that site open it?"
ASK_MORE = "name protocol and port to learn of those"

RULES_SHOWN = 10
"""Rules that are named before the one that decides."""


def explain_policy(
    found: Explanation, policy: Policy, opening: Opening, *, remote: bool
) -> Explanation:
    """Add to an explanation which rule decides, and why none before it does.

    ``remote``: whether the destination's own gateway has a say as well.
    """
    decides: Rule | None = None
    before: list[Alternative] = []
    for rule in policy.rules:
        why_not = rule.mismatch(opening)
        if not why_not and not rule.depends(opening):
            decides = rule
            break
        before.append(
            Alternative(_named(rule), why_not or f"decides only about {rule.traffic}; {ASK_MORE}")
        )
    allows = policy.default_allows if decides is None else decides.allows
    answer = _named(decides) if decides else f"by default: {policy.default_action}"
    return attrs.evolve(
        found,
        verdict=found.verdict if allows else "dropped",
        reason="" if allows else "denied",
        advice=found.advice if allows else DENIED,
        policy=answer + (THERE if allows and remote else ""),
        steps=(*found.steps, Step(QUESTION, f"{'yes' if allows else 'no'}, {answer}", allows)),
        alternatives=(*found.alternatives, *_nearest(before)),
    )


def _named(rule: Rule) -> str:
    return f'rule "{rule.name}": {rule}'


def _nearest(before: list[Alternative]) -> Iterator[Alternative]:
    """Those that are not obvious first: what only protocol and port keep from deciding."""
    # A stable order: the later a rule stands, the less others hide it.
    ranked = sorted(before, key=lambda each: each.why_not.startswith("it is not"))
    yield from ranked[:RULES_SHOWN]
    if len(ranked) > RULES_SHOWN:
        yield Alternative(f"{len(ranked) - RULES_SHOWN} other rules", "they do not match either")


def policy_status(guard: PolicyGuard | None, now: float) -> PolicyStatus | None:
    """Tell what the rules have done; None without a policy."""
    if guard is None:
        return None
    texts = [str(rule) for rule in guard.policy.rules]
    texts += [guard.policy.default_action, "deny what belongs to no flow that was allowed"]
    rules = tuple(
        RuleStatus(count.name, text, count.openings, count.denials)
        for count, text in zip(guard.counts(), texts, strict=True)
    )
    return PolicyStatus(rules, guard.flows_in_use(now), guard.policy.flows, guard.evicted)
