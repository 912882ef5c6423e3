"""What flows at every step: many steps solved at once on the load points alone, with exact gradients."""
