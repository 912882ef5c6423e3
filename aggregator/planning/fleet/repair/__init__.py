"""What a linear program cannot see, put right after it: one direction for a car and a meter, minimum powers, sleep."""
