"""Users' own drives: leave that they gave at their provider, and the doors to them."""
