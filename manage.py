#!/usr/bin/env python3
"""Django's command line in a checkout; an installed system has the same as `absurd`."""

from absurd_project.command_line import main

if __name__ == "__main__":
    main()
