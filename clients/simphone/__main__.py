"""`python -m clients.simphone 'eightms://pair?…' --state-dir DIR`: see entry.py."""

import sys

from clients.simphone.entry import main

if __name__ == "__main__":
    sys.exit(main())
