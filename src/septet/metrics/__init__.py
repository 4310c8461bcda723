"""What a running server counts: a table in shared memory, the observer that counts, and what is made of the counts."""
