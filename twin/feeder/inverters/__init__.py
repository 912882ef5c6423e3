"""What EVSEs with a grid code do by themselves: curves over voltage, tripping, coming back."""
