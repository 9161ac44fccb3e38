"""`python -m rte_server` is `rte`."""

from rte_server.cli.app import main

if __name__ == "__main__":
    main()
