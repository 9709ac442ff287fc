"""The limits of tokens, of keys, and of the documents that have keys (JWKS)."""

MAX_TOKEN = 8192
"""Maximum length of a token, in characters.

Most HTTP servers limit a header line to this size, so a longer token could hardly be used anywhere else. To read a
token of this length takes less than a millisecond, in which no other connection is served.
"""

MAX_TIME = 253_402_300_800
"""Upper limit of the times in a token, in seconds since 1970: the end of the year 9999.

*An issuer wrote milliseconds instead of seconds. Its tokens were valid for 50,000 years.*
"""

MIN_KEY_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Minimum size of a shared secret, by algorithm (RFC 7518, section 3.2): as many bytes as the hash has.

With a shorter secret, a person who has one token can find the secret by trying, and then sign tokens for every user.
"""

MAX_KID = 256
"""Maximum length of a key's id (``kid``), in characters."""

MAX_JWKS_BYTES = 256 * 1024
"""Maximum size of a JWKS, in bytes. A JWKS with ten keys has about 10 KB, with certificates about 40 KB."""

JWKS_SECONDS = 300.0
"""Default of ``jwks_seconds``: the time after which the keys of a URL are fetched again, in seconds."""

FETCH_SECONDS = 5.0
"""Time limit of a fetch, in seconds. It is shorter than ``auth_seconds``: a slow URL must not be an internal error."""

REFETCH_SECONDS = 10.0
"""Minimum time between the beginnings of two fetches from a URL, in seconds.

*Without this limit, a client that sends tokens with random key ids would make the server fetch all the time.*
"""

FILE_SECONDS = 1.0
"""Time after which the server looks again whether a file with keys has changed, in seconds."""

COMPLAINT_SECONDS = 60.0
"""Minimum time between two log lines about keys that cannot be loaded, in seconds."""
