"""`python -m fanlight` is the `fanlight` command."""

from fanlight.cli import main

main()
