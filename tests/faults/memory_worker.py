"""Run as a process of its own by the fault tests: writes until told, or killed.

Usage: memory_worker.py PLACE SCOPE COUNT NAME [TIMEOUT]. Prints an id as soon as it is acknowledged.
"""

import sys

from byheart.core.item import Item
from byheart.core.memory import Selector
from byheart.stores import open_store


def work(place, scope, count, name, timeout="60"):
    """Write notes; under the name "mixed" recall and supersede between them."""
    store = open_store(place, scope, timeout=float(timeout))
    for i in range(count):
        if name == "mixed" and i % 5 == 4:
            store.recall("note of things", 3)
            items = list(store.items(Selector(source="mixed")))[-1:]
            if items:
                new = store.supersede(items[0].id, Item(f"changed {i}")).id
                print("new " + new, flush=True)
            continue
        receipt = store.write([Item(f"note {i} of things by {name}", source=name)])
        print("new " + receipt.id, flush=True)
    store.close()
    print("done", flush=True)


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
