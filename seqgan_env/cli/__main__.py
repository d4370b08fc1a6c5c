"""`python -m seqgan_env.cli` is `seqgan`."""

import sys

from seqgan_env.cli.main import main

sys.exit(main())
