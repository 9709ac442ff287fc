"""AG-UI 1.0: agents for CopilotKit and other AG-UI clients, and AG-UI agents as runs of this server."""

from transport.adapters.agui._input import InputFunction, last_user_message
from transport.adapters.agui.encoder import Encoder, ThreadEncoder
from transport.adapters.agui.relay import RelayFailed, relay

__all__ = ["Encoder", "InputFunction", "RelayFailed", "ThreadEncoder", "last_user_message", "relay"]
