"""`python -m seqgan_env.cli`."""

from seqgan_env.cli.main import main

main()
