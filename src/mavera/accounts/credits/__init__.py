"""Credits: prices, holds, the ledger, and what was used."""
