"""Credits: prices, holds, the ledger, and usage."""
