"""One call of an ASGI application, on trio or on asyncio, and the way from it into the app's run of trio.

:mod:`transport.hosting` carries WebSockets through such calls, :mod:`transport.adapters` responses to HTTP requests.
"""
