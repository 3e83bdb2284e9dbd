"""The Motorpool controller: decides where models run."""
