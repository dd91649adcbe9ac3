"""Networks in float as their files have them: Network, and read(), which makes one from a model's files."""

from hwsim.network.read import read

__all__ = ["read"]
