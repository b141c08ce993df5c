"""One module per kind of figure. Each draws plain data, so published and rebuilt numbers go through the same code."""
