"""``python -m mullama_nb`` is ``mullama-nb``."""

from mullama_nb.cli import main

if __name__ == "__main__":
    main()
