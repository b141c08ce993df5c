"""The interactive page: tables, claims, audit, ledger, budget, cases in one offline file. Never imports torch."""
