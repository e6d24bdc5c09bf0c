"""`python -m trimtab_sim.cli` is the command `trimtab-sim`."""

import sys

from trimtab_sim.cli import main

if __name__ == "__main__":  # a spawned worker imports this file again
    sys.exit(main())
