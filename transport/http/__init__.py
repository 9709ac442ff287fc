"""The pages beside the WebSocket endpoint. Needs the extra ``http``."""
