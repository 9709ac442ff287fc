"""AG-UI 1.0: agents for CopilotKit and other AG-UI clients, and AG-UI agents as runs of this server."""

from transport.adapters.agui._capabilities import Capabilities
from transport.adapters.agui._input import InputFunction, last_user_message
from transport.adapters.agui.encoder import Encoder, ThreadEncoder
from transport.adapters.agui.frontend import FrontendToolFailed, call_frontend_tool
from transport.adapters.agui.relay import RelayFailed, relay

__all__ = [
    "Capabilities",
    "Encoder",
    "FrontendToolFailed",
    "InputFunction",
    "RelayFailed",
    "ThreadEncoder",
    "call_frontend_tool",
    "last_user_message",
    "relay",
]
