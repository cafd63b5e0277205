"""`byheart memory ...`: every verb mirrors a method of `byheart.Memory`."""

from __future__ import annotations

from collections.abc import Callable

import typer

from byheart.cli import _memory_cube_rules as rules
from byheart.cli import _memory_cubes as cubes
from byheart.cli import _memory_exchange as exchange
from byheart.cli import _memory_kinds as kinds
from byheart.cli import _memory_life as life
from byheart.cli import _memory_read as read
from byheart.cli import _memory_upkeep as upkeep
from byheart.cli import _memory_write as change

__all__ = ["register"]

_VERBS: dict[str, Callable[..., None]] = {
    "write": change.write, "add": change.write, "recall": read.recall, "as-of": read.as_of, "show": read.show,
    "history": kinds.history, "log": read.log, "diff": read.diff, "supersede": change.supersede, "undo": change.undo,
    "erase": change.erase, "link": life.link, "unlink": life.unlink, "freeze": life.freeze,
    "unfreeze": life.unfreeze, "archive": life.archive, "activate": life.activate,
    "expire": life.expire, "transition": life.transition, "export": exchange.export,
    "import": exchange.import_, "rebuild": upkeep.rebuild, "check": upkeep.check,
    "stats": upkeep.stats,
}  # fmt: skip

_CUBE_VERBS: dict[str, Callable[..., None]] = {
    "create": cubes.create, "list": rules.list_, "show": rules.show, "versions": rules.versions,
    "commit": cubes.commit, "branch": cubes.branch, "merge": cubes.merge,
    "compose": cubes.compose, "share": rules.share, "freeze": rules.freeze,
    "unfreeze": rules.unfreeze, "archive": rules.archive, "activate": rules.activate,
    "expire": rules.expire, "move": rules.move, "export": rules.export,
    "import": exchange.import_,
}  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the verb and its verbs."""
    group = typer.Typer(
        help="A memory in one file: nothing is lost silently.", no_args_is_help=True
    )
    bundle = typer.Typer(
        help="Cubes: named, versioned bundles of items, with an owner.", no_args_is_help=True
    )
    for to, verbs in ((group, _VERBS), (bundle, _CUBE_VERBS)):
        for name, verb in verbs.items():
            to.command(name)(verb)
    group.add_typer(bundle, name="cube")
    app.add_typer(group, name="memory")
