"""Classes of values that are made for each command, run or event: cheap to make, and frozen for the type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

__all__ = ["frozen_unchecked"]

if TYPE_CHECKING:
    from attrs import frozen as frozen_unchecked
else:

    def frozen_unchecked(cls: type | None = None, /, *, eq: bool = True, kw_only: bool = False) -> object:
        """Make a class as ``attrs.frozen`` does, but let only the type checkers refuse assignments to its fields.

        For classes of which the server's own code makes an object for each command, run or event. *At run time, attrs
        sets each field of a frozen object by a call. A frozen object of seven fields took three times as long.*
        """
        # Like a frozen object it has a hash, if objects with equal fields are equal.
        define = attrs.define(eq=eq, kw_only=kw_only, unsafe_hash=True if eq else None)
        return define if cls is None else define(cls)
