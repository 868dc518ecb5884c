"""Other people's frameworks -> LayerZero's calls. One thin file each; nothing here is imported unless asked for."""
