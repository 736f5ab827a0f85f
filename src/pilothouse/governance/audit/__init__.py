"""What was done, by whom, with what outcome: append only, in the transaction of the change itself."""
