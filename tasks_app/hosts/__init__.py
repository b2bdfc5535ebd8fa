"""What workers and their hosts are doing and have left."""
