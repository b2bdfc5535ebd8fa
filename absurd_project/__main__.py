"""`python -m absurd_project`: how the system's own processes are started, in a checkout and where it is installed."""

from absurd_project.command_line import main

if __name__ == "__main__":
    main()
