"""``python -m backend`` is ``ls-active``."""

from backend.cli import main

if __name__ == "__main__":
    main()
