"""The queue; it knows nothing of radio astronomy."""
