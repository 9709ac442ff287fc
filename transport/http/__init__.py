"""The pages beside the WebSocket endpoint. Needs the extra ``http``."""

from importlib import import_module

from actors import ConfigError

try:
    import_module("hypercorn.trio")
    import_module("starlette.applications")
except ImportError:
    raise ConfigError("the pages need the extra http: pip install 'greenroom[http]'") from None
