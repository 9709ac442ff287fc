"""How Chromium is started in tests."""

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP foreign.example 127.0.0.1",
)
"""Arguments for a Chromium that asks nothing of a network or a display. A foreign name means this machine."""
