"""`python -m guesthouse`: the same as the command `guesthouse`."""

from guesthouse.cli import main

if __name__ == "__main__":
    main()
