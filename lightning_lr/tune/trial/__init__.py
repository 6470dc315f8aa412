"""What runs in the processes of a trial: the user's own command, with the trial's LR put in at fit start."""
