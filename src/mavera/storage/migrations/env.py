"""What Alembic runs before the migrations: it hands them the connection that `migrate` opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])

with context.begin_transaction():
    context.run_migrations()
