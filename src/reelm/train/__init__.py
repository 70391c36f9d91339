"""Training: stages that say what learns, and one loop that can stop and go on."""
