"""The papers judged by their own numbers: statements, arithmetic, and how much of what was published is rebuilt."""
