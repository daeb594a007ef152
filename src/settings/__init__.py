"""What settings there are, what each takes, and what is said of those that do not fit."""
