"""`python -m gemwright` is the command `gemwright`."""

from gemwright.cli.main import main

if __name__ == "__main__":
    main()
