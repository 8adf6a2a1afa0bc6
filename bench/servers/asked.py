"""What a server of the bench was asked to be, without a library that would count as its start."""

import sys
from typing import Any


def asked(**offered: Any) -> dict[str, Any]:
    """What stands on the command line, `--name VALUE` or `--name` for what is False by default.

    *offered* are all names with what they are unless said: None for a number, too; what is `...`
    is left out.
    """
    found = dict(offered)
    words = iter(sys.argv[1:])
    for word in words:
        name = word.removeprefix("--")
        if name not in offered:
            sys.exit(f"{word} is not known; these are: {', '.join(offered)}")
        if offered[name] is False:
            found[name] = True
        else:
            value = next(words, "")
            found[name] = int(value) if value.isdigit() else value
    return {name: value for name, value in found.items() if value is not ...}
