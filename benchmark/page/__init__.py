"""The interactive page: tables, claims, audit, ledger and budget in one offline file. Never imports torch."""
