"""Another name of `byheart.audits.long_tail`, as its sheet spells it."""

from byheart.audits.long_tail import *  # noqa: F403
from byheart.audits.long_tail import __all__  # noqa: F401
