"""The actions of PlateauDetector: small classes, several of which can follow one verdict."""
