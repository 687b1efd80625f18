"""The process that runs studies, with DBOS on SQLite and on Postgres."""
