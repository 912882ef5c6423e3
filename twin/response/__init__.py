"""How real hardware answers a set-point: `followers` EVSEs that wait, ramp and miss, `sleep` cars that doze off."""

from twin.response.followers import Follower, Followers, Stair, settled_kw

__all__ = ["Follower", "Followers", "Stair", "settled_kw"]
