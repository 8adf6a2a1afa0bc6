"""`python -m interlock`: the command line, where its script is not on the path."""

from interlock.cli.main import main

if __name__ == "__main__":
    main()
