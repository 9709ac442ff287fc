"""``greenroom token``: print a signed token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from actors import ConfigError
from transport.auth import TokenAuth

if TYPE_CHECKING:
    import argparse

    from transport.cli._options import AddParser


def add_to(add_parser: AddParser) -> None:
    """Add the command ``token`` to the parser."""
    parser = add_parser(
        "token",
        help="print a signed token, for trying things out",
        description="Print a token for TokenAuth(KEY): sub is USER, signed with HS256. "
        "Make a key with: python -c 'import secrets; print(secrets.token_hex(32))'",
        epilog='example: greenroom token alice --key "$KEY" --seconds 600',
    )
    parser.add_argument("user", metavar="USER")
    parser.add_argument("--key", required=True, help="the key of the server's TokenAuth")
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long it is valid (default: %(default)s)")
    parser.add_argument("--kid", help="the id of the key, if the server's TokenAuth has several keys")
    parser.add_argument("--audience", help="the audience of the server's TokenAuth")
    parser.add_argument("--issuer", help="the issuer of the server's TokenAuth")
    parser.add_argument("--json", action="store_true", help="print the token in a JSON object")
    parser.set_defaults(run=_token)


def _token(options: argparse.Namespace) -> None:
    key = options.key if options.kid is None else {options.kid: options.key}
    try:
        auth = TokenAuth(key, audience=options.audience, issuer=options.issuer)
        token = auth.issue(options.user, options.seconds)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    result = {"user": options.user, "seconds": options.seconds, "token": token}
    print(orjson.dumps(result).decode() if options.json else token)
