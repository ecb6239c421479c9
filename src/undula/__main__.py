"""`python -m undula`: the command, where its script is not on the path."""

import sys

from undula.cli.main import main

sys.exit(main())
