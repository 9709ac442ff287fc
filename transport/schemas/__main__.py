"""``python -m transport.schemas`` writes the files of this folder again. ``make schemas`` runs it."""

from transport.schemas.documents import write

write()
