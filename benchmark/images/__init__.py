"""How image files are read, once for every command: NIfTI to the end of its stream, pictures as a viewer shows them,
label maps as whole numbers, label names in every form of dataset.json. Faults are InputErrors that name the file."""
