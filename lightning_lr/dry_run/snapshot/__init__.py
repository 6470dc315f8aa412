"""All that training steps can change, found from what the fit holds, and put back exactly."""
