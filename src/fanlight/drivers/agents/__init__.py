"""The host's end of the agent channel: one Unix socket for each instance, in a directory that only its guest sees."""

from fanlight.drivers.agents.channel import AgentSockets

__all__ = ["AgentSockets"]
