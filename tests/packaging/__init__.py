"""What is built of this folder, and whether it works away from it."""
