"""Move a database: close the source to writers, copy its rows in resumable steps, and compare both ends."""
