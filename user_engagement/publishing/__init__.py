"""Published generations of the marts, and exports of them."""
