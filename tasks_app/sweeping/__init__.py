"""What is put right as time passes, by whichever process comes by."""
