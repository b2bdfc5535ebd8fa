"""Work that any process may do at any time: expired leases, deadlines, schedules, archive, retention."""
