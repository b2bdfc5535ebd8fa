"""What operators do: cancel, retry, pause, freeze, emergency stop, on one target or on many."""
