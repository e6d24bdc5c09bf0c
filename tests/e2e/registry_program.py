"""An embedded registry as a process of its own, without a disk: `registry_program.py PORT`.

It prints its URL once it listens. Killed and started again, it has forgotten everything.
"""

from __future__ import annotations

import sys

from trimtab.server import serve

serve(port=int(sys.argv[1]))
