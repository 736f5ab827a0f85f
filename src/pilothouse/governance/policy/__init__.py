"""What a manifest may ask of a host: everything that reaches past a container's walls needs a grant.

Pure: a spec, the grants and a time go in, refusals come out. What is not classified is refused.
"""

from pilothouse.governance.policy.evaluate import refusals
from pilothouse.governance.policy.kinds import GRANT_KINDS, check_grant

__all__ = ["GRANT_KINDS", "check_grant", "refusals"]
