"""The actor runtime: mailboxes, supervision and shutdown. Nothing here depends on sessions or events."""
