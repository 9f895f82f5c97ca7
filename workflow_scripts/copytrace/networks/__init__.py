"""Networks: layers, backbones by name, heads, and the model that joins them."""
