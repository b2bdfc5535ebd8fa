"""The range of priorities: 1 waits longest, 15 to 20 are critical and go before all others."""

PRIORITY_LEAST, PRIORITY_DEFAULT, PRIORITY_MOST = 1, 5, 20
