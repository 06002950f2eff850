"""Where a resource lives, and what it is called across the world."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """One account in one region. Every resource belongs to exactly one; nothing is visible across scopes unless shared."""

    account_id: str
    region: str

    def arn(self, resource: str) -> str:
        """Return the ARN of e.g. `fleet/cad` in this scope."""
        return f"arn:aws:appstream:{self.region}:{self.account_id}:{resource}"
