"""What readers see: labels, tables, figures, and the sentences around them."""
