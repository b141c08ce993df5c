"""From scores to tables and figures: statistics, verdicts, tables, figures. Never imports torch."""
