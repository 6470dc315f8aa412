"""What a PlateauDetector does about its verdicts: small classes, several of which can follow one verdict."""
