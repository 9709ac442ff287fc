"""The WebSocket endpoint: one task for each connection, over the sessions of ``actors``. See README.md."""
