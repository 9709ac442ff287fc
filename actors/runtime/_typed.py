"""The types of an actor's messages and replies, for type checkers. Nothing here does anything at run time.

``ActorRef[int, str]`` is the handle of an actor that takes integers and replies with texts. A message that is a
:class:`Request` has the type of its own reply. Without parameters, an actor takes any message, and its reply is an
``object``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Generic, Protocol

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import TypeVar
elif sys.version_info >= (3, 13):
    from typing import TypeVar
else:
    import typing

    def TypeVar(name: str, *constraints: object, default: object = None, **options: object) -> typing.TypeVar:  # noqa: N802  -- typing's name
        """Return a type variable. Before Python 3.13 it cannot hold a default: see :class:`Defaults`."""
        del default
        return typing.TypeVar(name, *constraints, **options)


MessageT = TypeVar("MessageT", default=Any)
"""Type of the messages that an actor takes."""
ReplyT = TypeVar("ReplyT", default=object)
"""Type of the replies of an actor."""
Message_contra = TypeVar("Message_contra", contravariant=True, default=Any)
"""Type of the messages that can be sent by a handle. A handle for more messages is also one for fewer."""
Reply_co = TypeVar("Reply_co", covariant=True, default=object)
"""Type of the replies that a handle returns."""
ChildMessageT = TypeVar("ChildMessageT", default=Any)
ChildReplyT = TypeVar("ChildReplyT", default=object)
Answer_contra = TypeVar("Answer_contra", contravariant=True, default=Any)
"""Type of the answer to one deferred ask."""
T_co = TypeVar("T_co", covariant=True)
M_contra = TypeVar("M_contra", contravariant=True)
RefT_contra = TypeVar("RefT_contra", contravariant=True)

_DEFAULTS = {
    **dict.fromkeys([MessageT, Message_contra, ChildMessageT, Answer_contra], Any),
    **dict.fromkeys([ReplyT, Reply_co, ChildReplyT], object),
}


class Defaults:
    """The base class of generic classes with optional parameters: ``Actor[int]`` is ``Actor[int, object]``.

    Python 3.13 does it by itself. In earlier versions this class adds the parameters that are missing.
    """

    __slots__ = ()

    if not TYPE_CHECKING and sys.version_info < (3, 13):

        def __class_getitem__(cls, given):  # noqa: ANN001, ANN204  -- type checkers do not see it
            """Return the class with the given parameters, and the defaults of the others."""
            parameters = given if isinstance(given, tuple) else (given,)
            missing = cls.__parameters__[len(parameters) :]
            rest = tuple(_DEFAULTS[each] for each in missing if each in _DEFAULTS)
            return super().__class_getitem__((*parameters, *rest))


class Accepts(Protocol[M_contra]):
    """A handle by which messages of a type can be sent."""

    async def tell(self, message: M_contra) -> None:
        """Send a message."""
        ...


class Request(Generic[T_co]):
    """The base class of messages that have the type of their reply.

    ``class Get(Request[int])`` makes ``await ref.ask(Get())`` an ``int`` for type checkers, and each part of
    ``ref.ask_stream(Get())``. The actor's ``receive`` must keep this promise: type checkers do not compare the value
    that it returns with the request.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def _replied_by(self, ref: Accepts[Self]) -> T_co: ...


class Askable(Protocol[RefT_contra, T_co]):
    """A :class:`Request` that the handle ``RefT_contra`` takes, with a reply of the type ``T_co``.

    A message must be of the type that the actor takes, and its reply has the type in the request. Python has no type
    for both together. This protocol stands for it: a request can be asked of every handle that takes the request.
    """

    def _replied_by(self, ref: RefT_contra) -> T_co: ...


class Unhandled:
    """The type of :data:`UNHANDLED`, which ``receive`` returns for a message that the actor does not know."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNHANDLED"


UNHANDLED = Unhandled()
"""Value that ``receive`` returns for a message that the actor does not know."""


class Later:
    """The type of the value that ``receive`` returns for an ask that is answered later, or by another actor.

    :meth:`Context.stash`, :meth:`Context.defer` and :meth:`Context.forward` return it. The runtime ignores the value
    that ``receive`` returns after one of these calls. The type is for type checkers: ``-> int | Later``.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "LATER"


LATER = Later()
"""The value that stands for an answer that comes later."""
