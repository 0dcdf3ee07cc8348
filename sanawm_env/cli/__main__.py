"""`python -m sanawm_env.cli` is the command `sanawm`."""

from sanawm_env.cli.main import main

if __name__ == "__main__":
    main()
