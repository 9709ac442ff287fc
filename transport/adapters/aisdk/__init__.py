"""The UI message stream of Vercel AI SDK 6: a page with ``useChat`` and the unmodified ``DefaultChatTransport``.

A chat is a session, and each answer of the assistant is a run.
"""
